// Package selftest brings clusters up, uses them as tests will, breaks them, and takes them down again.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"paas/tests/cluster/internal/cluster"
	"paas/tests/cluster/internal/kubeapi"
)

// The names of the clusters that it makes; others on the machine are left alone.
const firstCluster, secondCluster = "test-1", "test-2"

// run is one test run.
type run struct {
	tool   *cluster.Tool
	out    io.Writer
	status cluster.Status
	client *kubeapi.Client
	before snapshot
	passed int
}

// step is one promise of the tool.
type step struct {
	what string
	work func(context.Context) error
}

// Run carries all steps out and tells the time of each. It ends at the first that fails, and leaves the clusters up
// for a look at them; `keep` leaves them up also when all passes.
func Run(ctx context.Context, tool *cluster.Tool, out io.Writer, keep bool) error {
	r := &run{tool: tool, out: out}
	started := time.Now()
	steps := []step{
		{"nothing is left of an earlier run", r.clean},
		{"a cluster of two nodes comes up", r.up},
		{"one that is up is left as it is", r.upAgain},
		{"a Deployment of three is ready", r.deploy},
		{"pods are on both nodes", r.spread},
		{"a pod resolves the name of a Service", r.resolve},
		{"a Service answers from both nodes", r.service},
		{"logs are read", r.logs},
		{"metrics of both nodes are served", r.metrics},
		{"an HTTPRoute serves through the Gateway", r.httpRoute},
		{"a TCPRoute serves through the Gateway", r.tcpRoute},
		{"a kubelet may not read what is of another node", r.nodeAuthoriser},
		{"a NetworkPolicy denies, and allows what it names", r.networkPolicy},
		{"a node whose containerd and kubelet were killed is healed, and its pods live on", r.heal},
		{"a second cluster comes up beside the first", r.second},
		{"what both do is apart", r.apart},
	}
	if !keep {
		steps = append(steps, step{"nothing is left when both are down", r.leaveNothing})
	}
	for _, each := range steps {
		began := time.Now()
		err := each.work(ctx)
		if errors.Is(err, errSkipped) {
			fmt.Fprintf(out, "SKIPPED          %s: %v\n", each.what, err)
			continue
		}
		if err != nil {
			fmt.Fprintf(out, "FAILED %6.1f s  %s\n", time.Since(began).Seconds(), each.what)
			return fmt.Errorf("%s: %w", each.what, err)
		}
		r.passed++
		fmt.Fprintf(out, "passed %6.1f s  %s\n", time.Since(began).Seconds(), each.what)
	}
	fmt.Fprintf(out, "%d passed, 0 failed, %d skipped in %.0f s\n", r.passed, len(steps)-r.passed, time.Since(started).Seconds())
	return nil
}

// errSkipped is wrapped by the reason why a step cannot be carried out on this machine.
var errSkipped = errors.New("this machine cannot")

// eventually asks until there is no error, up to a bound.
func eventually(ctx context.Context, bound time.Duration, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		err := work(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", bound, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
