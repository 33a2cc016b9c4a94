package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"paas/tests/cluster/internal/cgroup"
	"paas/tests/cluster/internal/process"
)

// Node is one machine of a cluster.
type Node struct {
	// Name is its name in Kubernetes, and its host name.
	Name string
	// Number is 1 for the first, which also runs the control plane.
	Number int
	// Address is the one on the cluster's bridge.
	Address netip.Addr
	// Pods is where its pods' addresses come from.
	Pods netip.Prefix
	// Folder holds its containers, its configuration, and what stands in the place of the host's folders.
	Folder string
	// Group is its control group. Its servers live in a child of it, its pods in another.
	Group cgroup.Path
	// Log and Record are those of the process that holds its namespaces.
	Log, Record string
}

// starting bounds how long namespaces may take to be set up.
const starting = 10 * time.Second

// Servers is the control group of the node's own servers.
func (n Node) Servers() cgroup.Path { return n.Group.Join("servers") }

// Ensure returns the process that holds the node's namespaces, and whether it had to be started.
//
// Where the holder is gone, whatever else of the node still runs is ended first, as when a machine loses its power:
// it would hold the old namespaces and know nothing of the new.
func (n Node) Ensure() (process.Process, bool, error) {
	if holder, alive := process.Recorded(n.Record); alive {
		return holder, false, nil
	}
	if err := n.Group.Kill(starting); err != nil {
		return process.Process{}, false, err
	}
	if err := n.prepare(); err != nil {
		return process.Process{}, false, err
	}
	holder, err := process.StartNode(process.Spec{
		Name:      n.Name,
		Arguments: []string{"hold", n.Folder, n.Name},
		Log:       n.Log,
		Record:    n.Record,
		Group:     n.Servers(),
	})
	if err != nil {
		return process.Process{}, false, err
	}
	ready := filepath.Join(n.Folder, "run", readyFile)
	for deadline := time.Now().Add(starting); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return holder, true, nil
		}
		if !holder.Alive() || time.Now().After(deadline) {
			return process.Process{}, false, fmt.Errorf("the namespaces of %s could not be set up; %s", n.Name, process.Tail(n.Log))
		}
	}
}

// prepare makes the node's groups and folders. What a machine forgets when it is switched off starts empty.
func (n Node) prepare() error {
	for _, group := range []cgroup.Path{n.Group, n.Servers()} {
		if err := group.Create(); err != nil {
			return err
		}
	}
	for _, forgotten := range []string{"run", "cni-addresses", "cni-results"} {
		if err := os.RemoveAll(filepath.Join(n.Folder, forgotten)); err != nil {
			return fmt.Errorf("failed to empty a folder of %s: %w", n.Name, err)
		}
	}
	for _, each := range bindings {
		if err := os.MkdirAll(filepath.Join(n.Folder, each.folder), 0o755); err != nil {
			return fmt.Errorf("failed to make a folder of %s: %w", n.Name, err)
		}
		// A place must be there to be covered; where it was not, an empty folder remains on the host.
		if err := os.MkdirAll(each.place, 0o755); err != nil {
			return fmt.Errorf("failed to make %s: %w", each.place, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(n.Folder, "run", "lock"), 0o755); err != nil {
		return fmt.Errorf("failed to make a folder of %s: %w", n.Name, err)
	}
	return n.write("resolv.conf", resolverOfHost())
}

// write puts a file into the node's folder.
func (n Node) write(name, text string) error {
	path := filepath.Join(n.Folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("failed to make a folder of %s: %w", n.Name, err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	return nil
}

// first returns the first of the paths that exists.
func first(paths ...string) (string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("failed to look at %s: %w", path, err)
		}
	}
	return "", fmt.Errorf("none of %v exists", paths)
}
