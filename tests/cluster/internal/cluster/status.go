package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"paas/tests/cluster/internal/addons"
	"paas/tests/cluster/internal/kubeapi"
	"paas/tests/cluster/internal/process"
	"paas/tests/cluster/internal/state"
)

// Status is what a user or a test needs to know about a cluster. Its JSON is read by the tests' harness.
type Status struct {
	Name string `json:"name"`
	// Ready is whether every server runs, every node is Ready and every add-on serves; if not, Reason says what.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Kubeconfig is the path of the administrator's.
	Kubeconfig string `json:"kubeconfig"`
	// Server is the address of the API server.
	Server   string         `json:"server"`
	Nodes    []NodeStatus   `json:"nodes"`
	Gateway  GatewayStatus  `json:"gateway"`
	Registry RegistryStatus `json:"registry"`
	// NetworkPolicies says whether they are enforced.
	NetworkPolicies PolicyStatus `json:"networkPolicies"`
	// Metrics says whether metrics.k8s.io is served yet; a cluster is ready without.
	Metrics ServiceStatus `json:"metrics"`
	// Kubectl is the path of the one that was built with the cluster.
	Kubectl string `json:"kubectl"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Pods    string         `json:"pods"`
	Servers []ServerStatus `json:"servers"`
}

// ServerStatus is one process.
type ServerStatus struct {
	Name  string `json:"name"`
	Alive bool   `json:"alive"`
	PID   int    `json:"pid,omitempty"`
	Log   string `json:"log"`
}

// GatewayStatus says how the Gateway is named and reached.
type GatewayStatus struct {
	// Class is the name of its GatewayClass.
	Class     string `json:"class"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Address answers the host, and pods, at the listeners' ports.
	Address   string            `json:"address"`
	Listeners []addons.Listener `json:"listeners"`
}

// RegistryStatus is the names of the registry.
type RegistryStatus struct {
	// Push is its name for the host, Pull that for nodes.
	Push string `json:"push"`
	Pull string `json:"pull"`
}

// ServiceStatus says why a part does not serve, if so.
type ServiceStatus struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// PolicyStatus says why policies are not enforced, if so.
type PolicyStatus struct {
	Enforced bool   `json:"enforced"`
	Reason   string `json:"reason,omitempty"`
}

// Keys is the folder of the cluster's certificates.
func (s Status) Keys() string { return filepath.Join(filepath.Dir(s.Kubeconfig), "pki") }

// Status looks at one cluster; the second result is whether there is one.
func (t *Tool) Status(ctx context.Context, name string) (Status, bool, error) {
	if err := state.CheckName(name); err != nil {
		return Status{}, false, err
	}
	cluster, found, err := t.Root.Find(name)
	if err != nil || !found {
		return Status{}, false, err
	}
	registry, err := t.RegistryName()
	if err != nil {
		registry = "" // the cluster is not ready, and says why below
	}
	status := Status{
		Name:       name,
		Kubeconfig: cluster.Kubeconfig(),
		Server:     cluster.Server(),
		Gateway: GatewayStatus{Class: "contour", Namespace: "projectcontour", Name: "gateway",
			Address: cluster.Plan.Gateway().String(), Listeners: addons.Listeners},
		Registry:        RegistryStatus{Push: registry, Pull: registry},
		NetworkPolicies: policyStatus(cluster),
		Kubectl:         t.Program("kubectl"),
	}
	if !t.registryServer().alive() {
		status.Reason = "the registry does not run"
	}
	for number := 1; number <= cluster.Nodes; number++ {
		one := t.nodeStatus(cluster, number, status.NetworkPolicies.Enforced)
		status.Nodes = append(status.Nodes, one)
		for _, each := range one.Servers {
			if !each.Alive && status.Reason == "" {
				status.Reason = each.Name + " does not run; its log is " + each.Log
			}
		}
	}
	if status.Reason == "" {
		status.Reason, status.Metrics = t.unready(ctx, cluster)
	}
	status.Ready = status.Reason == ""
	return status, true, nil
}

// unready asks the cluster itself: why it is not ready, and whether it serves metrics.
func (t *Tool) unready(ctx context.Context, cluster state.Cluster) (string, ServiceStatus) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := kubeapi.New(cluster.Server(), cluster.Keys(), "ca", "admin")
	if err != nil {
		return err.Error(), ServiceStatus{}
	}
	for number := 1; number <= cluster.Nodes; number++ {
		if why := reasonOf(nodeNotReady(ctx, client, cluster.Node(number))); why != "" {
			return why, ServiceStatus{}
		}
	}
	why := reasonOf(notReady(ctx, client, metricsReady, "Available"))
	return reasonOf(addonsNotReady(ctx, client)), ServiceStatus{Ready: why == "", Reason: why}
}

func reasonOf(why string, err error) string {
	if err != nil {
		return err.Error()
	}
	return why
}

func (t *Tool) nodeStatus(cluster state.Cluster, number int, policies bool) NodeStatus {
	this := nodeOf(cluster, number)
	status := NodeStatus{Name: this.Name, Address: this.Address.String(), Pods: this.Pods.String()}
	for _, each := range t.serversOf(cluster, number, policies) {
		running, alive := process.Recorded(each.record)
		one := ServerStatus{Name: each.name, Alive: alive, Log: each.log}
		if alive {
			one.PID = running.PID
		}
		status.Servers = append(status.Servers, one)
	}
	return status
}

// serversOf lists every server of a node, with the holder of its namespaces.
func (t *Tool) serversOf(cluster state.Cluster, number int, policies bool) []server {
	this := nodeOf(cluster, number)
	all := []server{{name: this.Name, log: this.Log, record: this.Record}}
	if number == 1 {
		all = append(all, t.controlPlane(cluster)...)
	}
	all = append(all, t.containerd(cluster, number))
	return append(all, t.agents(cluster, number, policies)...)
}

func policyStatus(cluster state.Cluster) PolicyStatus {
	reason, err := os.ReadFile(cluster.Path("policies-not-enforced"))
	if errors.Is(err, fs.ErrNotExist) {
		return PolicyStatus{Enforced: true}
	} else if err != nil {
		return PolicyStatus{Reason: err.Error()}
	}
	return PolicyStatus{Reason: string(reason)}
}

// Print shows the status to a person.
func (s Status) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	if s.Ready {
		row("cluster", "%s is ready", s.Name)
	} else {
		row("cluster", "%s is NOT READY: %s", s.Name, s.Reason)
	}
	row("API server", "%s", s.Server)
	row("kubeconfig", "%s", s.Kubeconfig)
	row("kubectl", "%s", s.Kubectl)
	row("registry", "%s, the same name on the host and in the nodes", s.Registry.Push)
	row("Gateway", "%s/%s, class %s", s.Gateway.Namespace, s.Gateway.Name, s.Gateway.Class)
	for _, each := range s.Gateway.Listeners {
		row("", "%s: %s:%d (%s)", each.Name, s.Gateway.Address, each.Port, each.Protocol)
	}
	if s.NetworkPolicies.Enforced {
		row("NetworkPolicy", "enforced")
	} else {
		row("NetworkPolicy", "NOT ENFORCED: %s", s.NetworkPolicies.Reason)
	}
	if s.Metrics.Ready {
		row("metrics", "served")
	} else {
		row("metrics", "not served yet: %s", s.Metrics.Reason)
	}
	for _, each := range s.Nodes {
		row("node", "%s at %s, pods in %s", each.Name, each.Address, each.Pods)
		for _, server := range each.Servers {
			if server.Alive {
				row("", "%s runs as process %d", server.Name, server.PID)
			} else {
				row("", "%s DOES NOT RUN; log: %s", server.Name, server.Log)
			}
		}
	}
	return table.Flush()
}
