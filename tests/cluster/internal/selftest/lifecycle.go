package selftest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"paas/tests/cluster/internal/cluster"
	"paas/tests/cluster/internal/images"
	"paas/tests/cluster/internal/kubeapi"
	"paas/tests/cluster/internal/pki"
)

func (r *run) clean(ctx context.Context) error {
	for _, name := range []string{firstCluster, secondCluster} {
		if _, err := r.tool.Down(ctx, name); err != nil {
			return err
		}
	}
	var err error
	r.before, err = takeSnapshot(string(r.tool.Root))
	return err
}

func (r *run) up(ctx context.Context) error {
	changed, err := r.tool.Up(ctx, firstCluster, 2)
	if err != nil {
		return err
	}
	if !changed {
		return errors.New("it was up already")
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	r.client, err = kubeapi.New(r.status.Server, pki.Folder(r.status.Keys()), "ca", "admin")
	if err != nil {
		return err
	}
	return images.PushProgram(r.tool.Program("probe"), cluster.ProbeImage(r.status.Registry.Push))
}

// look reads the status of the first cluster, which must be ready.
func (r *run) look(ctx context.Context) error {
	status, found, err := r.tool.Status(ctx, firstCluster)
	if err != nil {
		return err
	}
	if !found || !status.Ready {
		return fmt.Errorf("it is not ready: %s", status.Reason)
	}
	r.status = status
	return nil
}

func (r *run) upAgain(ctx context.Context) error {
	changed, err := r.tool.Up(ctx, firstCluster, 0)
	if err == nil && changed {
		err = errors.New("something was started again")
	}
	return err
}

// heal kills what a node cannot do without, as a crash would.
func (r *run) heal(ctx context.Context) error {
	before, err := r.pods(ctx, "web")
	if err != nil {
		return err
	}
	node := r.status.Nodes[1]
	for _, server := range node.Servers {
		if strings.HasPrefix(server.Name, "containerd-") || strings.HasPrefix(server.Name, "kubelet-") {
			if err := syscall.Kill(server.PID, syscall.SIGKILL); err != nil {
				return fmt.Errorf("failed to kill %s: %w", server.Name, err)
			}
		}
	}
	// A killed process takes a moment to end.
	err = eventually(ctx, 10*time.Second, func(ctx context.Context) error {
		status, _, err := r.tool.Status(ctx, firstCluster)
		if err == nil && status.Ready {
			err = errors.New("the status does not tell what was killed")
		}
		return err
	})
	if err != nil {
		return err
	}
	changed, err := r.tool.Up(ctx, firstCluster, 0)
	if err != nil {
		return err
	}
	if !changed {
		return errors.New("nothing was started again")
	}
	if err := eventually(ctx, 30*time.Second, r.look); err != nil {
		return err
	}
	after, err := r.pods(ctx, "web")
	if err != nil {
		return err
	}
	if !maps.Equal(restarts(before), restarts(after)) {
		return fmt.Errorf("pods were replaced or started again: %v before, %v after", restarts(before), restarts(after))
	}
	return r.service(ctx)
}

// restarts is how often each pod was started again, by its unique name.
func restarts(pods []pod) map[string]int {
	counts := map[string]int{}
	for _, each := range pods {
		for _, container := range each.Status.ContainerStatuses {
			counts[each.Metadata.UID] += container.RestartCount
		}
	}
	return counts
}

func (r *run) second(ctx context.Context) error {
	_, err := r.tool.Up(ctx, secondCluster, 1)
	return err
}

// apart looks whether the second cluster knows nothing of the first, and the first still serves.
func (r *run) apart(ctx context.Context) error {
	status, _, err := r.tool.Status(ctx, secondCluster)
	if err != nil {
		return err
	}
	if !status.Ready || status.Gateway.Address == r.status.Gateway.Address {
		return fmt.Errorf("the second is %+v", status)
	}
	client, err := kubeapi.New(status.Server, pki.Folder(status.Keys()), "ca", "admin")
	if err != nil {
		return err
	}
	if _, err := client.Get(ctx, "/api/v1/namespaces/"+namespace); !kubeapi.IsNotFound(err) {
		return fmt.Errorf("the namespace of the first is looked for in the second: %w", err)
	}
	return r.throughGateway(ctx)
}

func (r *run) leaveNothing(ctx context.Context) error {
	for _, name := range []string{firstCluster, secondCluster} {
		if _, err := r.tool.Down(ctx, name); err != nil {
			return err
		}
	}
	after, err := takeSnapshot(string(r.tool.Root))
	if err != nil {
		return err
	}
	if left := after.without(r.before); len(left) > 0 {
		slices.Sort(left)
		return fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}
