// Package state knows what is kept about clusters, and where: one folder for all, outside of any clone.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"paas/tests/cluster/internal/cgroup"
	"paas/tests/cluster/internal/network"
	"paas/tests/cluster/internal/pki"
)

// DefaultRoot is where the state lies unless another folder is given. Sockets and snapshots of containers are in it,
// so that its path is short and its file system a real one.
const DefaultRoot = "/var/lib/paas-cluster"

// Root is the folder of all clusters.
type Root string

// Cluster is what is remembered about one.
type Cluster struct {
	// Name tells clusters apart, as in `a`.
	Name string `json:"name"`
	// Nodes is how many it has.
	Nodes int `json:"nodes"`
	// Plan is its addresses.
	Plan network.Plan `json:"plan"`

	root Root
}

// names are those that can be part of a node's name and of a path; short, because the paths of sockets are bounded.
var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)

// CheckName says what a name may be.
func CheckName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name of a cluster: up to 15 of a-z, 0-9 and -, the first a letter", name)
	}
	return nil
}

// Lock keeps two runs of this program from changing clusters at the same time. The kernel lets it go with the program.
func (r Root) Lock() (func(), error) {
	if err := os.MkdirAll(string(r), 0o755); err != nil {
		return nil, fmt.Errorf("failed to make the folder of clusters: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(string(r), "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("failed to open the lock of the clusters: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("failed to take the lock of the clusters: %w", err)
	}
	return func() { _ = file.Close() }, nil
}

// Clusters lists all that are remembered, by name.
func (r Root) Clusters() ([]Cluster, error) {
	entries, err := os.ReadDir(filepath.Join(string(r), "clusters"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("failed to list the clusters: %w", err)
	}
	var all []Cluster
	for _, entry := range entries {
		cluster, found, err := r.Find(entry.Name())
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, cluster)
		}
	}
	return all, nil
}

// Find reads one.
func (r Root) Find(name string) (Cluster, bool, error) {
	cluster := Cluster{Name: name, root: r}
	text, err := os.ReadFile(cluster.file())
	if errors.Is(err, fs.ErrNotExist) {
		return cluster, false, nil
	} else if err != nil {
		return cluster, false, fmt.Errorf("failed to read the cluster %s: %w", name, err)
	}
	if err := json.Unmarshal(text, &cluster); err != nil {
		return cluster, false, fmt.Errorf("failed to read %s: %w", cluster.file(), err)
	}
	return cluster, true, nil
}

// New makes a cluster that is not yet saved.
func (r Root) New(name string, nodes int, plan network.Plan) Cluster {
	return Cluster{Name: name, Nodes: nodes, Plan: plan, root: r}
}

// Save remembers it.
func (c Cluster) Save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("failed to encode the cluster %s: %w", c.Name, err)
	}
	if err := os.MkdirAll(c.Folder(), 0o755); err != nil {
		return fmt.Errorf("failed to make the folder of the cluster %s: %w", c.Name, err)
	}
	if err := os.WriteFile(c.file()+".new", text, 0o644); err != nil {
		return fmt.Errorf("failed to save the cluster %s: %w", c.Name, err)
	}
	if err := os.Rename(c.file()+".new", c.file()); err != nil {
		return fmt.Errorf("failed to save the cluster %s: %w", c.Name, err)
	}
	return nil
}

// Forget removes everything that is kept about it; what runs is gone by then.
func (c Cluster) Forget() error {
	if err := os.RemoveAll(c.Folder()); err != nil {
		return fmt.Errorf("failed to remove the folder of the cluster %s: %w", c.Name, err)
	}
	return nil
}

func (c Cluster) file() string { return filepath.Join(c.Folder(), "cluster.json") }

// Folder holds everything of the cluster.
func (c Cluster) Folder() string { return filepath.Join(string(c.root), "clusters", c.Name) }

// Path is that of something in the folder.
func (c Cluster) Path(parts ...string) string {
	return filepath.Join(append([]string{c.Folder()}, parts...)...)
}

// Keys is the folder of its certificates.
func (c Cluster) Keys() pki.Folder { return pki.Folder(c.Path("pki")) }

// Kubeconfig is the file with which its administrator reaches it.
func (c Cluster) Kubeconfig() string { return c.Path("kubeconfig") }

// KubeconfigOf is the file of one of its servers.
func (c Cluster) KubeconfigOf(holder string) string { return c.Path("kubeconfigs", holder) }

// Log is the file that a server writes its output to.
func (c Cluster) Log(server string) string { return c.Path("log", server+".log") }

// Record is the file that remembers the process of a server.
func (c Cluster) Record(server string) string { return c.Path("run", server+".json") }

// Server is the address of the API server.
func (c Cluster) Server() string { return fmt.Sprintf("https://%s:6443", c.Plan.Node(1)) }

// Node is the name of a node, in Kubernetes and elsewhere.
func (c Cluster) Node(number int) string { return fmt.Sprintf("%s-node-%d", c.Name, number) }

// Group is the control group of everything that it runs.
func (c Cluster) Group() cgroup.Path { return Group.Join(c.Name) }

// NodeGroup is the control group of a node.
func (c Cluster) NodeGroup(number int) cgroup.Path {
	return c.Group().Join(fmt.Sprintf("node-%d", number))
}

// Group is the control group of all clusters.
const Group cgroup.Path = "/paas-cluster"
