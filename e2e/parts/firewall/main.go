// Firewall drops what pods of a node send to one place, by one rule of nftables in the network namespace it runs in.
//
// firewall ADDRESS PORT: what is forwarded to this IPv4 address and TCP port is dropped from now on. It stands in for a
// network plugin that enforces a NetworkPolicy: the pod sees what it would see there, a connection that times out.
package main

import (
	"log"
	"net/netip"
	"os"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: firewall ADDRESS PORT")
	}
	address, err := netip.ParseAddr(os.Args[1])
	if err != nil || !address.Is4() {
		log.Fatalf("expected an IPv4 address, got %q", os.Args[1])
	}
	port, err := strconv.ParseUint(os.Args[2], 10, 16)
	if err != nil {
		log.Fatalf("expected a port: %v", err)
	}
	if err := drop(address, uint16(port)); err != nil {
		log.Fatalf("nftables: %v", err)
	}
}

func drop(address netip.Addr, port uint16) error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	table := connection.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "rollforward"})
	chain := connection.AddChain(&nftables.Chain{
		Name: "egress", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	same := func(value []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value} }
	connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		// The destination is the last 4 bytes of the 20 of an IPv4 header, the protocol is byte 9, 6 is TCP.
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1},
		same([]byte{6}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		same(address.AsSlice()),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		same(binaryutil.BigEndian.PutUint16(port)),
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return connection.Flush()
}
