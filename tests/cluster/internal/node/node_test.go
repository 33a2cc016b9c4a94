package node

import "testing"

func TestServersOfTheHostsOwnLoopbackAreNoneForNodes(t *testing.T) {
	text := "search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\noptions edns0\n"
	if got := reachableServers(text); got != "nameserver 192.0.2.1\n" {
		t.Errorf("got %q", got)
	}
}

func TestCapabilitiesAreReadFromTheEffectiveSet(t *testing.T) {
	without := "CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n"
	if hasCapability(without, 24) || !hasCapability(without, 21) {
		t.Error("the set is read wrongly")
	}
	if hasCapability("", 24) {
		t.Error("a status without a set has a capability")
	}
}
