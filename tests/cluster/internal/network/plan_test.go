package network

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestTheFirstFreeBlockIsChosen(t *testing.T) {
	plan, err := Choose(prefixes("0.0.0.0/0", "192.168.0.0/16"))
	if err != nil || plan.Block.String() != "10.89.0.0/16" {
		t.Fatalf("got %v, %v", plan.Block, err)
	}
}

func TestABlockThatARouteLiesInIsLeftOut(t *testing.T) {
	plan, err := Choose(prefixes("10.89.64.0/20", "10.90.0.0/16"))
	if err != nil || plan.Block.String() != "10.91.0.0/16" {
		t.Fatalf("got %v, %v", plan.Block, err)
	}
}

func TestAMachineWhereAllOf10IsTakenIsRefused(t *testing.T) {
	_, err := Choose(prefixes("10.0.0.0/8"))
	if err == nil || !strings.Contains(err.Error(), "10.89") {
		t.Fatalf("got %v", err)
	}
}

func TestRangesOfAPlanAreApart(t *testing.T) {
	plan, err := Choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Nodes().Overlaps(plan.Services()) || plan.Services().Overlaps(plan.Pods()) || plan.Nodes().Overlaps(plan.Pods()) {
		t.Fatal("ranges overlap")
	}
	for _, number := range []int{1, MaxNodes} {
		if !plan.Nodes().Contains(plan.Node(number)) || plan.Node(number) == plan.Gateway() {
			t.Errorf("node %d has address %v", number, plan.Node(number))
		}
		if pods := plan.NodePods(number); !plan.Pods().Overlaps(pods) || pods.Bits() != 24 {
			t.Errorf("node %d has pods %v", number, pods)
		}
	}
	if !plan.Services().Contains(plan.DNS()) || !plan.Services().Contains(plan.APIService()) {
		t.Error("a service lies outside of the services")
	}
}

func TestNamesOfLinksFitTheKernel(t *testing.T) {
	plan := Plan{Block: netip.MustParsePrefix("10.119.0.0/16")}
	if name := plan.Link(MaxNodes); len(name) > 15 {
		t.Errorf("%s is too long", name)
	}
}
