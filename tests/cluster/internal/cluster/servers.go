package cluster

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"paas/tests/cluster/internal/cgroup"
	"paas/tests/cluster/internal/control"
	"paas/tests/cluster/internal/network"
	"paas/tests/cluster/internal/node"
	"paas/tests/cluster/internal/process"
	"paas/tests/cluster/internal/state"
)

// server is one process of a cluster.
type server struct {
	name        string
	arguments   []string
	log, record string
	group       cgroup.Path
}

func (s server) alive() bool {
	_, alive := process.Recorded(s.record)
	return alive
}

func (s server) tail() string { return process.Tail(s.log) }

// ensure starts the server in the namespaces of a node, unless it runs.
func (s server) ensure(holder process.Process) (bool, error) {
	if s.alive() {
		return false, nil
	}
	_, err := process.Start(process.Spec{
		Name: s.name, Arguments: s.arguments, Log: s.log, Record: s.record, Group: s.group, Node: &holder,
		Environment: withoutProxy(os.Getenv),
	})
	return err == nil, err
}

// withoutProxy keeps servers from going through a proxy, which the user may have set, to what is on this machine.
func withoutProxy(get func(string) string) []string {
	var environment []string
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		value := "127.0.0.1,localhost,10.0.0.0/8,.svc,.cluster.local"
		if before := get(name); before != "" {
			value = before + "," + value
		}
		environment = append(environment, name+"="+value)
	}
	return environment
}

// nodeOf describes a node of a cluster.
func nodeOf(cluster state.Cluster, number int) node.Node {
	name := cluster.Node(number)
	return node.Node{
		Name:    name,
		Number:  number,
		Address: cluster.Plan.Node(number),
		Pods:    cluster.Plan.NodePods(number),
		Folder:  cluster.Path("nodes", strconv.Itoa(number)),
		Group:   cluster.NodeGroup(number),
		Log:     cluster.Log(name),
		Record:  cluster.Record(name),
	}
}

// named makes a server of a node from the arguments that follow the binary of all servers.
func (t *Tool) named(cluster state.Cluster, name string, group cgroup.Path, arguments []string) server {
	return server{
		name: name, arguments: append([]string{t.Program("kube")}, arguments...),
		log: cluster.Log(name), record: cluster.Record(name), group: group,
	}
}

// controlPlane lists the servers that the first node has besides those of every node, in the order of their start.
// The first two are those that the others cannot do without.
func (t *Tool) controlPlane(cluster state.Cluster) []server {
	group := nodeOf(cluster, 1).Servers()
	return []server{
		t.named(cluster, "etcd", group, control.Etcd(cluster)),
		t.named(cluster, "apiserver", group, control.APIServer(cluster)),
		t.named(cluster, "controller-manager", group, control.ControllerManager(cluster)),
		t.named(cluster, "scheduler", group, control.Scheduler(cluster)),
	}
}

// containerd is that of a node.
func (t *Tool) containerd(cluster state.Cluster, number int) server {
	this := nodeOf(cluster, number)
	name := "containerd-" + this.Name
	return server{
		name: name, arguments: this.Containerd(),
		log: cluster.Log(name), record: cluster.Record(name), group: this.Servers(),
	}
}

// agents lists the other servers of a node, which need an API server; the kubelet is the first.
func (t *Tool) agents(cluster state.Cluster, number int, policies bool) []server {
	this := nodeOf(cluster, number)
	proxy := this.Proxy(cluster.KubeconfigOf("proxy"), cluster.Plan.Pods())
	all := []server{
		t.named(cluster, "kubelet-"+this.Name, this.Servers(), this.Kubelet(cluster.KubeconfigOf(this.Name))),
		t.named(cluster, "proxy-"+this.Name, this.Servers(), proxy),
	}
	if policies {
		arguments := control.NetworkPolicies(cluster, this.Name, strconv.Itoa(network.PolicyQueue))
		all = append(all, t.named(cluster, "network-policies-"+this.Name, this.Servers(), arguments))
	}
	return all
}

// answers is whether something listens on a socket.
func answers(socket string) (string, error) {
	connection, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return "", fmt.Errorf("it does not listen: %w", err)
	}
	return "", connection.Close()
}
