package node

import (
	"net/netip"
	"os"
	"strings"
)

// resolverOfHost is a resolv.conf for nodes: the host's, without servers that only the host can reach.
func resolverOfHost() string {
	// Where systemd resolves names, the usual file names a server on loopback, and this one those behind it.
	for _, path := range []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"} {
		if text, err := os.ReadFile(path); err == nil {
			return reachableServers(string(text))
		}
	}
	return ""
}

func reachableServers(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(words[1]); err == nil && !address.IsLoopback() {
			kept.WriteString("nameserver " + address.String() + "\n")
		}
	}
	return kept.String()
}

// ResolvesOutside is whether nodes have a DNS server outside of the cluster.
func ResolvesOutside() bool { return resolverOfHost() != "" }
