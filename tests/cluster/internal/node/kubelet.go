package node

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"paas/tests/cluster/internal/pki"
)

// kubeletFormat is the kubelet's configuration. It asks the API server who a client is and what it may do; it evicts
// nothing for a full disk, which on a developer's machine is not the cluster's doing.
const kubeletFormat = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "%[1]s"}
authorization: {mode: Webhook}
tlsCertFile: "%[2]s"
tlsPrivateKeyFile: "%[3]s"
cgroupDriver: cgroupfs
cgroupRoot: "%[4]s"
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix://` + containerdSocket + `
resolvConf: "%[5]s"
clusterDNS: ["%[6]s"]
clusterDomain: cluster.local
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "0%%", imagefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.inodesFree: "0%%"}
`

func (n Node) kubeletConfiguration(keys pki.Folder, dns netip.Addr) string {
	serving := n.Name + "-serving"
	return fmt.Sprintf(kubeletFormat, keys.Certificate("ca"), keys.Certificate(serving), keys.Key(serving), n.Group,
		filepath.Join(n.Folder, "resolv.conf"), dns)
}

// Kubelet gives the arguments of the kubelet, after its name.
func (n Node) Kubelet(kubeconfig string) []string {
	return []string{
		"kubelet",
		"--config=" + filepath.Join(n.Folder, "kubelet.yaml"),
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + n.Name,
		"--node-ip=" + n.Address.String(),
	}
}

// Proxy gives the arguments of kube-proxy. It leaves the kernel's table of connections as it is: its size is not a
// node's to set where the node is a namespace.
func (n Node) Proxy(kubeconfig string, pods netip.Prefix) []string {
	return []string{
		"proxy",
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + n.Name,
		"--proxy-mode=iptables",
		"--cluster-cidr=" + pods.String(),
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0s",
		"--conntrack-tcp-timeout-close-wait=0s",
		"--metrics-bind-address=127.0.0.1:10249",
		"--healthz-bind-address=127.0.0.1:10256",
	}
}
