// Command kube is every server of a Kubernetes cluster in one binary; the first argument says which one it is.
//
// The servers share nearly all of their packages, so that one binary is built and linked much faster than nine.
// Contour is not among them: its module has nothing but a main package to offer, and is built beside this one.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	// Formats of logs and metrics that the servers look up by name.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(components["kubectl"]())
	}
	if len(os.Args) < 2 {
		usage()
	}
	run, found := components[os.Args[1]]
	if !found {
		usage()
	}
	// Each server reads its own command line, as if it were alone in its binary.
	os.Args = append([]string{os.Args[1]}, os.Args[2:]...)
	os.Exit(run())
}

func usage() {
	names := make([]string, 0, len(components))
	for name := range components {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: kube COMPONENT [flags]; the components are %s\n", strings.Join(names, ", "))
	os.Exit(2)
}
