// Package cluster brings clusters up and down, and says how they are.
//
// Everything here is an "ensure": it looks at what is there, and does the rest. So that a run that was cut off, or a
// server that was killed, is healed by the next run.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"paas/tests/cluster/internal/addons"
	"paas/tests/cluster/internal/state"
)

// Tool works on the clusters of one machine.
type Tool struct {
	// Root is where their state lies.
	Root state.Root
	// Kit is where the built programs are.
	Kit addons.Kit
	// Progress is told what is done, with the time it took.
	Progress io.Writer
}

// needs are the programs of the machine that a cluster is made with, and what each is for.
var needs = []struct{ program, purpose, install string }{
	{"containerd", "nodes run containers with it", "containerd"},
	{"runc", "containerd starts containers with it", "runc"},
	{"iptables", "services are rules of the kernel", "iptables"},
	{"ip", "nodes get links and routes with it", "iproute2"},
	{"nsenter", "servers are started inside of nodes with it", "util-linux"},
	{"sysctl", "nodes let packets through", "procps"},
}

// Check says everything that the machine lacks, in one message.
func (t *Tool) Check() error {
	var faults []error
	if os.Getuid() != 0 {
		faults = append(faults, errors.New("not root: namespaces, links and control groups are made; run it as root"))
	}
	for _, need := range needs {
		if _, err := exec.LookPath(need.program); err != nil {
			faults = append(faults, fmt.Errorf("%s is missing: %s; install it: apt-get install %s", need.program, need.purpose, need.install))
		}
	}
	for _, program := range []string{"kube", "contour", "envoy", "pause"} {
		if _, err := os.Stat(t.Program(program)); err != nil {
			faults = append(faults, fmt.Errorf("%s is not built: `cargo xtask cluster up` does it, or `go run ./cmd/assemble`", program))
		}
	}
	// The longest path of a socket must fit into the kernel's 108 characters.
	if len(t.Root) > 40 {
		faults = append(faults, fmt.Errorf("the folder %s has a path of more than 40 characters, too long for the sockets in it", t.Root))
	}
	return errors.Join(faults...)
}

// Program is the path of one that was built.
func (t *Tool) Program(name string) string { return filepath.Join(t.Kit.Programs, name) }

// step does something and tells how long it took.
func (t *Tool) step(what string, work func() error) error {
	started := time.Now()
	if err := work(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(t.Progress, "%7.1f s  %s\n", time.Since(started).Seconds(), what)
	return nil
}

// poll is how often a predicate is asked.
const poll = 50 * time.Millisecond

// wait asks until the predicate holds: an empty reason. At the bound it fails with the last reason, and with what the
// logs of the concerned servers end with.
func wait(ctx context.Context, bound time.Duration, concerned []server, reason func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		why, err := reason(ctx)
		if err == nil && why == "" {
			return nil
		}
		if err != nil {
			why = err.Error()
		}
		for _, each := range concerned {
			if !each.alive() {
				return fmt.Errorf("%s has ended (%s); %s", each.name, why, each.tail())
			}
		}
		select {
		case <-ctx.Done():
			message := fmt.Sprintf("not within %v: %s", bound, why)
			if errors.Is(ctx.Err(), context.Canceled) {
				message = "interrupted: " + why
			}
			for _, each := range concerned {
				message += "\n" + each.tail()
			}
			return errors.New(message)
		case <-time.After(poll):
		}
	}
}
