// Package network lays out the addresses of clusters, and makes and removes their links, routes and packet rules.
//
// A cluster owns one /16 block. In it are a bridge that its nodes are plugged into, the addresses of its services, and
// one /24 of pods per node. Everything in the block is reached from the host by routes through the first node.
package network

import (
	"fmt"
	"net/netip"
)

// MaxNodes is how many nodes a cluster may have; each has a /24 of pods in the upper half of the block.
const MaxNodes = 50

// firstBlock and lastBlock bound the second byte of the blocks: 10.89.0.0/16 to 10.119.0.0/16.
const firstBlock, lastBlock = 89, 119

// Plan is the addresses of one cluster. The zero value is not a plan.
type Plan struct {
	// Block is the /16 that everything lies in.
	Block netip.Prefix `json:"block"`
}

// Choose takes the first block that overlaps none of the taken ones: routes of the host and blocks of other clusters.
func Choose(taken []netip.Prefix) (Plan, error) {
	for second := firstBlock; second <= lastBlock; second++ {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16)
		if !overlapsAny(block, taken) {
			return Plan{Block: block}, nil
		}
	}
	return Plan{}, fmt.Errorf("no /16 from 10.%d to 10.%d is free: routes of this machine or other clusters lie in all of them",
		firstBlock, lastBlock)
}

func overlapsAny(block netip.Prefix, taken []netip.Prefix) bool {
	for _, other := range taken {
		// A default route overlaps everything and takes nothing.
		if other.Bits() > 0 && block.Overlaps(other) {
			return true
		}
	}
	return false
}

// Host is the host's address on the bridge, and the nodes' way out.
func (p Plan) Host() netip.Addr { return p.at(0, 1) }

// Node is the address of the node with this number; the first is 1.
func (p Plan) Node(number int) netip.Addr { return p.at(0, byte(10+number)) }

// Gateway is where the listeners of the cluster's Gateway answer, as a load balancer in front of the cluster would.
func (p Plan) Gateway() netip.Addr { return p.at(0, 200) }

// Nodes is what the bridge spans.
func (p Plan) Nodes() netip.Prefix { return netip.PrefixFrom(p.Block.Addr(), 24) }

// Services holds the cluster IPs.
func (p Plan) Services() netip.Prefix { return netip.PrefixFrom(p.at(64, 0), 20) }

// APIService is the cluster IP of the API server: always the first of the range.
func (p Plan) APIService() netip.Addr { return p.at(64, 1) }

// DNS is the cluster IP of the DNS service.
func (p Plan) DNS() netip.Addr { return p.at(64, 10) }

// XDS is the cluster IP under which the Gateway's proxy finds what configures it: an address, so that it need not wait for
// DNS.
func (p Plan) XDS() netip.Addr { return p.at(64, 11) }

// Pods holds the addresses of all pods.
func (p Plan) Pods() netip.Prefix { return netip.PrefixFrom(p.at(128, 0), 17) }

// NodePods holds the addresses of one node's pods.
func (p Plan) NodePods(number int) netip.Prefix {
	return netip.PrefixFrom(p.at(byte(128+number), 0), 24)
}

// Bridge is the name of the cluster's bridge; it has the block's second byte in it, so that no two clusters share it.
func (p Plan) Bridge() string { return fmt.Sprintf("paas%d", p.second()) }

// Link is the host's end of a node's cable.
func (p Plan) Link(number int) string { return fmt.Sprintf("paas%dn%d", p.second(), number) }

func (p Plan) second() byte { return p.Block.Addr().As4()[1] }

func (p Plan) at(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, p.second(), third, fourth})
}
