// Masterminds answers what github.com/Masterminds/semver/v3 says of a range and a version.
//
// One question a line on standard input, {"range": "~1.4", "version": "1.4.2"}; one answer a line on standard output,
// {"range": true, "version": true, "match": true}: whether each can be read, and whether the version is in the range.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	"github.com/Masterminds/semver/v3"
)

type question struct {
	Range   string `json:"range"`
	Version string `json:"version"`
}

type answer struct {
	Range   bool `json:"range"`
	Version bool `json:"version"`
	Match   bool `json:"match"`
}

func ask(question question) answer {
	constraint, badRange := semver.NewConstraint(question.Range)
	version, badVersion := semver.NewVersion(question.Version)
	answer := answer{Range: badRange == nil, Version: badVersion == nil}
	answer.Match = answer.Range && answer.Version && constraint.Check(version)
	return answer
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(ask(asked)); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}
