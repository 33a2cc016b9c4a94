package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"paas/tests/cluster/internal/addons"
	"paas/tests/cluster/internal/control"
	"paas/tests/cluster/internal/kubeapi"
	"paas/tests/cluster/internal/network"
	"paas/tests/cluster/internal/node"
	"paas/tests/cluster/internal/process"
	"paas/tests/cluster/internal/state"
)

// Bounds of what is waited for, each several times what a busy machine of two cores needs.
const (
	apiBound    = 90 * time.Second
	nodeBound   = 60 * time.Second
	addonsBound = 180 * time.Second
)

// rise is one run of Up.
type rise struct {
	*Tool
	cluster  state.Cluster
	registry node.Registry
	client   *kubeapi.Client
	holders  []process.Process
	policies bool
	// changed is what had to be started; nothing when the cluster was up.
	changed []string
}

// Up brings a cluster up, with as many nodes as given, or as it has, or one. It returns whether anything had to be
// done.
func (t *Tool) Up(ctx context.Context, name string, nodes int) (bool, error) {
	if err := errors.Join(t.Check(), state.CheckName(name)); err != nil {
		return false, err
	}
	unlock, err := t.Root.Lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	cluster, err := t.claim(name, nodes)
	if err != nil {
		return false, err
	}
	run := &rise{Tool: t, cluster: cluster}
	for _, step := range []struct {
		what string
		work func(context.Context) error
	}{
		{"certificates", func(context.Context) error { return control.EnsureKeys(cluster) }},
		{"registry", run.ensureRegistry},
		{"nodes: namespaces, links, routes", func(context.Context) error { return run.ensureNodes() }},
		{"API server", run.ensureControlPlane},
		{"nodes are Ready", run.ensureAgents},
		{"add-ons: DNS, Gateway, metrics", run.ensureAddons},
	} {
		if err := t.step(step.what, func() error { return step.work(ctx) }); err != nil {
			return true, err
		}
	}
	return len(run.changed) > 0, nil
}

// claim finds the cluster, or remembers a new one with addresses that nobody has.
func (t *Tool) claim(name string, nodes int) (state.Cluster, error) {
	cluster, found, err := t.Root.Find(name)
	if err != nil {
		return cluster, err
	}
	if found {
		switch {
		case nodes == 0 || nodes == cluster.Nodes:
			return cluster, nil
		case nodes < cluster.Nodes:
			return cluster, fmt.Errorf("the cluster %s has %d nodes; take it down first to have fewer", name, cluster.Nodes)
		}
	}
	if nodes > network.MaxNodes {
		return cluster, fmt.Errorf("a cluster has at most %d nodes", network.MaxNodes)
	}
	plan := cluster.Plan
	if !found {
		if plan, err = t.choosePlan(); err != nil {
			return cluster, err
		}
	}
	cluster = t.Root.New(name, max(nodes, 1), plan)
	return cluster, cluster.Save()
}

func (t *Tool) choosePlan() (network.Plan, error) {
	taken, err := network.HostRoutes()
	if err != nil {
		return network.Plan{}, err
	}
	others, err := t.Root.Clusters()
	if err != nil {
		return network.Plan{}, err
	}
	for _, other := range others {
		taken = append(taken, other.Plan.Block)
	}
	return network.Choose(taken)
}

func (r *rise) ensureRegistry(ctx context.Context) error {
	name, err := r.Tool.ensureRegistry(ctx)
	if err == nil {
		r.registry, err = registryFor(r.cluster, name)
	}
	return err
}

// ensureNodes makes the machines and their network.
func (r *rise) ensureNodes() error {
	plan := r.cluster.Plan
	if err := plan.EnsureBridge(); err != nil {
		return err
	}
	for number := 1; number <= r.cluster.Nodes; number++ {
		this := nodeOf(r.cluster, number)
		holder, started, err := this.Ensure()
		if err != nil {
			return err
		}
		if started {
			r.changed = append(r.changed, this.Name)
		}
		if err := plan.EnsureCable(number, holder.PID); err != nil {
			return err
		}
		r.holders = append(r.holders, holder)
	}
	r.policies = true
	for index, holder := range r.holders {
		if err := plan.EnsureRoutes(index+1, r.cluster.Nodes, holder.PID); err != nil {
			return err
		}
		// Where the kernel has no such queue, policies are not enforced; `status` says so.
		err := plan.EnsurePolicyQueue(holder.PID)
		if saved := r.rememberPolicies(err); saved != nil {
			return saved
		}
		r.policies = r.policies && err == nil
	}
	return nil
}

// ensure starts a server on a node unless it runs.
func (r *rise) ensure(number int, each server) error {
	started, err := each.ensure(r.holders[number-1])
	if started {
		r.changed = append(r.changed, each.name)
	}
	return err
}

// ensureControlPlane starts what needs no API server, and that, and waits until it answers. What the nodes need first
// starts meanwhile.
func (r *rise) ensureControlPlane(ctx context.Context) error {
	control := r.controlPlane(r.cluster)
	for _, each := range control[:2] {
		if err := r.ensure(1, each); err != nil {
			return err
		}
	}
	for number := 1; number <= r.cluster.Nodes; number++ {
		this := nodeOf(r.cluster, number)
		err := this.Configure(r.registry, pauseImage(r.registry.Name), r.cluster.Keys(), r.cluster.Plan.DNS())
		if err != nil {
			return err
		}
		if err := r.ensure(number, r.containerd(r.cluster, number)); err != nil {
			return err
		}
	}
	client, err := kubeapi.New(r.cluster.Server(), r.cluster.Keys(), "ca", "admin")
	if err != nil {
		return err
	}
	r.client = client
	err = wait(ctx, apiBound, control[:2], func(ctx context.Context) (string, error) {
		_, err := client.Get(ctx, "/readyz")
		return "", err
	})
	if err != nil {
		return err
	}
	for _, each := range control[2:] {
		if err := r.ensure(1, each); err != nil {
			return err
		}
	}
	return nil
}

// ensureAgents starts the servers of every node, and waits until all are Ready.
func (r *rise) ensureAgents(ctx context.Context) error {
	var all []server
	for number := 1; number <= r.cluster.Nodes; number++ {
		socket := filepath.Join(nodeOf(r.cluster, number).Folder, "run/containerd/containerd.sock")
		containerd := r.containerd(r.cluster, number)
		err := wait(ctx, nodeBound, []server{containerd}, func(context.Context) (string, error) { return answers(socket) })
		if err != nil {
			return err
		}
		agents := r.agents(r.cluster, number, r.policies)
		for _, each := range agents {
			if err := r.ensure(number, each); err != nil {
				return err
			}
		}
		all = append(all, containerd, agents[0])
	}
	return wait(ctx, nodeBound, all, func(ctx context.Context) (string, error) {
		for number := 1; number <= r.cluster.Nodes; number++ {
			if why, err := nodeNotReady(ctx, r.client, r.cluster.Node(number)); why != "" || err != nil {
				return why, err
			}
		}
		return "", nil
	})
}

// ensureAddons applies the add-ons, unless these very ones were applied and serve, and waits until they serve.
func (r *rise) ensureAddons(ctx context.Context) error {
	stream, err := addons.Stream(r.cluster, r.Kit, pauseImage(r.registry.Name))
	if err != nil {
		return err
	}
	fingerprint := fmt.Sprintf("%x", sha256.Sum256([]byte(stream)))
	applied, err := os.ReadFile(r.cluster.Path("add-ons"))
	if err == nil && string(applied) == fingerprint && reasonOf(addonsNotReady(ctx, r.client)) == "" {
		return nil
	}
	r.changed = append(r.changed, "add-ons")
	bounded, cancel := context.WithTimeout(ctx, addonsBound)
	defer cancel()
	if err := addons.Apply(bounded, r.client, r.cluster, stream); err != nil {
		return err
	}
	err = wait(ctx, addonsBound, nil, func(ctx context.Context) (string, error) {
		return addonsNotReady(ctx, r.client)
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, troubles(ctx, r.client))
	}
	if err := os.WriteFile(r.cluster.Path("add-ons"), []byte(fingerprint), 0o644); err != nil {
		return fmt.Errorf("failed to remember the add-ons: %w", err)
	}
	return nil
}
