package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"paas/tests/cluster/internal/pki"
)

// containerdSocket is where containerd listens, inside of the node.
const containerdSocket = "/run/containerd/containerd.sock"

// containerdFormat is a configuration of version 2, which containerd 1.6 to 2 read.
const containerdFormat = `version = 2
root = "%[1]s/containerd"
state = "/run/containerd"
[grpc]
  address = "` + containerdSocket + `"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = %[3]t
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[4]s"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%[1]s/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "%[5]s"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// cniFormat gives pods addresses from the node's own range and store. Addresses are not masked among pods, or policies
// could not tell them apart; the host masks what leaves the cluster.
const cniFormat = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "%s/cni-addresses"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

// Registry is the one on the host: its name in references to images, and where nodes find it.
type Registry struct {
	// Name is that in references, as in `127.0.0.1:5105`; under it the host reaches the registry directly.
	Name string
	// Address is where it answers the node.
	Address netip.AddrPort
}

// Containerd is the command that runs it.
func (n Node) Containerd() []string {
	return []string{"containerd", "--config", filepath.Join(n.Folder, "containerd.toml")}
}

// Configure writes what the node's servers read when they start: containerd, the CNI plug-ins, the kubelet.
func (n Node) Configure(registry Registry, pause string, keys pki.Folder, dns netip.Addr) error {
	plugins, err := first("/usr/lib/cni/bridge", "/opt/cni/bin/bridge")
	if err != nil {
		return fmt.Errorf("the CNI plug-ins are missing (pods get their network from them; `apt-get install containernetworking-plugins`): %w", err)
	}
	configuration := fmt.Sprintf(containerdFormat, n.Folder, pause, !mayRaiseOOMScore(), filepath.Dir(plugins), snapshotter(n.Folder))
	mirror := fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", registry.Address)
	for name, text := range map[string]string{
		"containerd.toml":      configuration,
		"cni/10-pods.conflist": fmt.Sprintf(cniFormat, n.Pods, n.Folder),
		filepath.Join("registries", registry.Name, "hosts.toml"): mirror,
		"kubelet.yaml": n.kubeletConfiguration(keys, dns),
	} {
		if err := n.write(name, text); err != nil {
			return err
		}
	}
	return nil
}

// snapshotter is how layers are put together: by overlay, which does not work on top of another overlay.
func snapshotter(folder string) string {
	const overlayMagic = 0x794c7630
	var status syscall.Statfs_t
	if err := syscall.Statfs(folder, &status); err == nil && int64(status.Type) == overlayMagic {
		return "native"
	}
	return "overlayfs"
}

// mayRaiseOOMScore is whether this program has CAP_SYS_RESOURCE. Without it a container whose score is lower than
// that of its parent cannot be started.
func mayRaiseOOMScore() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && hasCapability(string(status), 24)
}

// hasCapability reads the effective set of a /proc/PID/status.
func hasCapability(status string, number uint) bool {
	for line := range strings.Lines(status) {
		if text, found := strings.CutPrefix(line, "CapEff:"); found {
			set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && set&(1<<number) != 0
		}
	}
	return false
}
