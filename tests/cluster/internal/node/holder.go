// Package node makes a machine out of namespaces: network, mounts, host name. Its servers and pods share them.
//
// What they mount and the sockets they listen on exist inside only, so that nothing of a node is left when its last
// process has ended.
package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// readyFile is written when the namespaces are set up; it lies in the node's own /run.
const readyFile = "node-ready"

// binding is a folder of the node that stands in the place of one of the host.
type binding struct{ folder, place string }

// bindings are the places where Kubernetes, containerd and the CNI plug-ins write whatever they are told, or where
// other programs expect them to: each node has its own.
var bindings = []binding{
	{"run", "/run"},
	{"var-log", "/var/log"},
	{"kubelet", "/var/lib/kubelet"},
	{"cni-results", "/var/lib/cni"},
}

// Hold sets the node's namespaces up and keeps them until this process is killed. It is the main program of the
// process that was started in them.
func Hold(folder, name string) error {
	// What is mounted here is not seen outside; what is mounted in the node is seen by all of the node, as a pod that
	// mounts something for others needs it.
	for _, flags := range []uintptr{syscall.MS_REC | syscall.MS_PRIVATE, syscall.MS_REC | syscall.MS_SHARED} {
		if err := syscall.Mount("", "/", "", flags, ""); err != nil {
			return fmt.Errorf("failed to part the mounts of %s from those of the host: %w", name, err)
		}
	}
	if err := syscall.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("failed to name the node %s: %w", name, err)
	}
	resolver, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err == nil {
		err = bind(filepath.Join(folder, "resolv.conf"), resolver)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, each := range bindings {
		if err := bind(filepath.Join(folder, each.folder), each.place); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join("/run", readyFile), nil, 0o644); err != nil {
		return fmt.Errorf("failed to report that %s is ready: %w", name, err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
	return nil
}

func bind(source, place string) error {
	if err := syscall.Mount(source, place, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("failed to put %s in the place of %s: %w", source, place, err)
	}
	return nil
}
