package main

import (
	"github.com/coredns/coredns/coremain"

	// The plug-ins that cluster DNS needs; CoreDNS's own list of all brings half the clouds along.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

func runCoreDNS() int {
	coremain.Run()
	return 0
}
