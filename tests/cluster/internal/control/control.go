// Package control says how the servers of the control plane are started: their command lines, and the certificates
// that they know each other by.
package control

import (
	"fmt"
	"net/netip"
	"os"

	"paas/tests/cluster/internal/pki"
	"paas/tests/cluster/internal/state"
)

// Names of the authorities: of the cluster's users and servers, of what comes through the API server's aggregation
// layer, and of etcd, which trusts nobody but the API server.
const (
	authority      = "ca"
	frontAuthority = "front-proxy-ca"
	etcdAuthority  = "etcd-ca"
	accounts       = "service-accounts"
)

// holders are the users that reach the API server with a kubeconfig: the file's name, the user, its groups. What each
// may do is said by roles that the API server makes itself, or by a manifest of the add-ons.
var holders = []pki.Subject{
	{Name: "admin", User: "kubernetes-admin", Groups: []string{"system:masters"}},
	{Name: "controller-manager", User: "system:kube-controller-manager"},
	{Name: "scheduler", User: "system:kube-scheduler"},
	{Name: "proxy", User: "system:kube-proxy"},
	{Name: "network-policies", User: "paas:network-policies"},
}

// EnsureKeys makes every certificate and kubeconfig of the cluster that is not there yet.
func EnsureKeys(cluster state.Cluster) error {
	keys := cluster.Keys()
	for _, name := range []string{authority, frontAuthority, etcdAuthority} {
		if err := keys.EnsureAuthority(name); err != nil {
			return err
		}
	}
	if err := keys.EnsureSigningKey(accounts); err != nil {
		return err
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	address := cluster.Plan.Node(1)
	for _, issued := range []struct {
		authority string
		subject   pki.Subject
	}{
		{authority, pki.Subject{Name: "apiserver", User: "kube-apiserver",
			Names:     []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
			Addresses: []netip.Addr{address, cluster.Plan.APIService(), loopback}}},
		{authority, pki.Subject{Name: "apiserver-kubelet-client", User: "paas:apiserver-kubelet-client"}},
		{frontAuthority, pki.Subject{Name: "front-proxy-client", User: "front-proxy-client"}},
		{etcdAuthority, pki.Subject{Name: "etcd", User: "etcd", Names: []string{"localhost"}, Addresses: []netip.Addr{loopback}}},
		{etcdAuthority, pki.Subject{Name: "apiserver-etcd-client", User: "kube-apiserver"}},
	} {
		if err := keys.Ensure(issued.authority, issued.subject); err != nil {
			return err
		}
	}
	for _, holder := range holders {
		if err := ensureHolder(cluster, holder); err != nil {
			return err
		}
	}
	for number := 1; number <= cluster.Nodes; number++ {
		if err := ensureNode(cluster, number); err != nil {
			return err
		}
	}
	return keys.WriteKubeconfig(cluster.Kubeconfig(), "paas-"+cluster.Name, cluster.Server(), authority, "admin")
}

// ensureNode makes what a kubelet is known by, as a client and as a server.
func ensureNode(cluster state.Cluster, number int) error {
	name := cluster.Node(number)
	// The node authoriser knows a kubelet by this name and group, and lets it see what is of its node.
	client := pki.Subject{Name: name, User: "system:node:" + name, Groups: []string{"system:nodes"}}
	if err := ensureHolder(cluster, client); err != nil {
		return err
	}
	return cluster.Keys().Ensure(authority, pki.Subject{Name: name + "-serving", User: "system:node:" + name,
		Groups: []string{"system:nodes"}, Names: []string{name}, Addresses: []netip.Addr{cluster.Plan.Node(number)}})
}

func ensureHolder(cluster state.Cluster, holder pki.Subject) error {
	keys := cluster.Keys()
	if err := keys.Ensure(authority, holder); err != nil {
		return err
	}
	if err := os.MkdirAll(cluster.Path("kubeconfigs"), 0o700); err != nil {
		return fmt.Errorf("failed to make the folder of kubeconfigs: %w", err)
	}
	path := cluster.KubeconfigOf(holder.Name)
	return keys.WriteKubeconfig(path, "paas-"+cluster.Name, cluster.Server(), authority, holder.Name)
}
