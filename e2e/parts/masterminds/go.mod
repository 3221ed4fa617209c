module rollforward.dev/e2e/parts/masterminds

go 1.26.0

tool rollforward.dev/e2e/parts/masterminds

require github.com/Masterminds/semver/v3 v3.5.0
