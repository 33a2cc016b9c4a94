package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"paas/tests/cluster/internal/images"
	"paas/tests/cluster/internal/node"
	"paas/tests/cluster/internal/process"
	"paas/tests/cluster/internal/state"
)

// firstPort is where the registry is looked for; where another program has it, one of the next is taken.
const firstPort, lastPort = 5105, 5124

// registryState is what is remembered about the registry, which all clusters of the machine share.
type registryState struct {
	Port int `json:"port"`
}

func (t *Tool) registryFolder() string { return filepath.Join(string(t.Root), "registry") }

// registryServer describes the process; it runs on the host.
func (t *Tool) registryServer() server {
	folder := t.registryFolder()
	return server{
		name: "registry", log: filepath.Join(folder, "registry.log"), record: filepath.Join(folder, "registry.json"),
		group: state.Group.Join("registry"),
	}
}

// RegistryName is that of the registry in references to images, the same on the host and in every node.
func (t *Tool) RegistryName() (string, error) {
	text, err := os.ReadFile(filepath.Join(t.registryFolder(), "state.json"))
	if err != nil {
		return "", fmt.Errorf("there is no registry; `up` starts one: %w", err)
	}
	var kept registryState
	if err := json.Unmarshal(text, &kept); err != nil {
		return "", fmt.Errorf("failed to read the state of the registry: %w", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(kept.Port)), nil
}

// ensureRegistry starts the registry unless it runs, and puts the images into it that clusters need.
func (t *Tool) ensureRegistry(ctx context.Context) (string, error) {
	this := t.registryServer()
	started := false
	if !this.alive() {
		started = true
		if err := t.startRegistry(this); err != nil {
			return "", err
		}
	}
	name, err := t.RegistryName()
	if err != nil {
		return "", err
	}
	err = wait(ctx, 10*time.Second, []server{this}, func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name+"/v2/", nil)
		if err != nil {
			return "", err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		return "", answer.Body.Close()
	})
	if err != nil || !started {
		return name, err
	}
	return name, images.PushProgram(t.Program("pause"), pauseImage(name))
}

func (t *Tool) startRegistry(this server) error {
	port, err := t.choosePort()
	if err != nil {
		return err
	}
	text, err := json.Marshal(registryState{Port: port})
	if err != nil {
		return fmt.Errorf("failed to encode the state of the registry: %w", err)
	}
	if err := os.MkdirAll(t.registryFolder(), 0o755); err != nil {
		return fmt.Errorf("failed to make the folder of the registry: %w", err)
	}
	if err := os.WriteFile(filepath.Join(t.registryFolder(), "state.json"), text, 0o644); err != nil {
		return fmt.Errorf("failed to remember the registry: %w", err)
	}
	if err := this.group.Create(); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("failed to find this program: %w", err)
	}
	_, err = process.Start(process.Spec{
		Name: this.name, Log: this.log, Record: this.record, Group: this.group,
		Arguments: []string{program, "registry", strconv.Itoa(port), t.registryFolder()},
	})
	return err
}

// choosePort takes the one that was used before, which nodes know, or else a free one.
func (t *Tool) choosePort() (int, error) {
	text, err := os.ReadFile(filepath.Join(t.registryFolder(), "state.json"))
	var kept registryState
	if err == nil && json.Unmarshal(text, &kept) == nil {
		return kept.Port, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("failed to read the state of the registry: %w", err)
	}
	for port := firstPort; port <= lastPort; port++ {
		listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free for the registry", firstPort, lastPort)
}

// registryFor is the registry as the nodes of a cluster see it.
func registryFor(cluster state.Cluster, name string) (node.Registry, error) {
	_, port, err := net.SplitHostPort(name)
	if err != nil {
		return node.Registry{}, fmt.Errorf("%q is no name of a registry: %w", name, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return node.Registry{}, fmt.Errorf("%q is no name of a registry: %w", name, err)
	}
	return node.Registry{Name: name, Address: netip.AddrPortFrom(cluster.Plan.Host(), uint16(number))}, nil
}

// pauseImage holds a pod's namespaces; it is also the empty image of the add-ons.
func pauseImage(registry string) string { return registry + "/paas/pause:1" }

// ProbeImage is the server and client that the tool tests itself with.
func ProbeImage(registry string) string { return registry + "/paas/probe:1" }
