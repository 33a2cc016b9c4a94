package control

import "paas/tests/cluster/internal/state"

// Each function gives the name of a server in the binary of them all, and its arguments.

// Etcd stores the cluster's objects. It does not wait for the disk: a test cluster may lose what the last moment
// brought when the machine loses its power.
func Etcd(cluster state.Cluster) []string {
	keys := cluster.Keys()
	return []string{
		"etcd",
		"--name=etcd",
		"--data-dir=" + cluster.Path("etcd"),
		"--listen-client-urls=https://127.0.0.1:2379",
		"--advertise-client-urls=https://127.0.0.1:2379",
		"--listen-peer-urls=https://127.0.0.1:2380",
		"--initial-advertise-peer-urls=https://127.0.0.1:2380",
		"--initial-cluster=etcd=https://127.0.0.1:2380",
		"--client-cert-auth",
		"--trusted-ca-file=" + keys.Certificate(etcdAuthority),
		"--cert-file=" + keys.Certificate("etcd"),
		"--key-file=" + keys.Key("etcd"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + keys.Certificate(etcdAuthority),
		"--peer-cert-file=" + keys.Certificate("etcd"),
		"--peer-key-file=" + keys.Key("etcd"),
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

// APIServer is the way to everything.
func APIServer(cluster state.Cluster) []string {
	keys := cluster.Keys()
	return []string{
		"apiserver",
		"--advertise-address=" + cluster.Plan.Node(1).String(),
		"--secure-port=6443",
		"--allow-privileged",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + keys.Certificate(authority),
		"--tls-cert-file=" + keys.Certificate("apiserver"),
		"--tls-private-key-file=" + keys.Key("apiserver"),
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile=" + keys.Certificate(etcdAuthority),
		"--etcd-certfile=" + keys.Certificate("apiserver-etcd-client"),
		"--etcd-keyfile=" + keys.Key("apiserver-etcd-client"),
		"--kubelet-certificate-authority=" + keys.Certificate(authority),
		"--kubelet-client-certificate=" + keys.Certificate("apiserver-kubelet-client"),
		"--kubelet-client-key=" + keys.Key("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-cluster-ip-range=" + cluster.Plan.Services().String(),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + cluster.Path("pki", accounts+".pub"),
		"--service-account-signing-key-file=" + keys.Key(accounts),
		"--requestheader-client-ca-file=" + keys.Certificate(frontAuthority),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + keys.Certificate("front-proxy-client"),
		"--proxy-client-key-file=" + keys.Key("front-proxy-client"),
		"--enable-aggregator-routing",
		"--profiling=false",
	}
}

// ControllerManager runs the controllers, each under an account of its own.
func ControllerManager(cluster state.Cluster) []string {
	keys, kubeconfig := cluster.Keys(), cluster.KubeconfigOf("controller-manager")
	return []string{
		"controller-manager",
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--use-service-account-credentials",
		"--root-ca-file=" + keys.Certificate(authority),
		"--service-account-private-key-file=" + keys.Key(accounts),
		"--cluster-signing-cert-file=" + keys.Certificate(authority),
		"--cluster-signing-key-file=" + keys.Key(authority),
	}
}

// Scheduler finds nodes for pods.
func Scheduler(cluster state.Cluster) []string {
	kubeconfig := cluster.KubeconfigOf("scheduler")
	return []string{
		"scheduler",
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	}
}

// NetworkPolicies judges new connections of one node's pods.
func NetworkPolicies(cluster state.Cluster, node string, queue string) []string {
	return []string{
		"network-policies",
		"--kubeconfig=" + cluster.KubeconfigOf("network-policies"),
		"--node=" + node,
		"--queue=" + queue,
	}
}
