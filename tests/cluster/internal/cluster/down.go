package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"paas/tests/cluster/internal/process"
	"paas/tests/cluster/internal/state"
)

// ending bounds how long processes, and groups without processes, may take to go.
const ending = 30 * time.Second

// Down takes a cluster down and forgets it. It returns whether there was one.
//
// The control group names every process; with the last process of a node its namespaces go, and with them all mounts
// and links that were made inside. What is on the host is removed by name. Nothing is asked to end by itself: nothing
// of it is kept.
func (t *Tool) Down(_ context.Context, name string) (bool, error) {
	if err := state.CheckName(name); err != nil {
		return false, err
	}
	unlock, err := t.Root.Lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	cluster, found, err := t.Root.Find(name)
	if err != nil || !found {
		return false, err
	}
	err = t.step("processes, namespaces, links, control groups of "+name, func() error {
		if err := cluster.Group().Kill(ending); err != nil {
			return err
		}
		return errors.Join(cluster.Plan.Remove(), cluster.Group().Remove(ending))
	})
	if err != nil {
		return true, err
	}
	// A folder is removed only when nothing of the host can be reached through it.
	if err := noMountsBelow(cluster.Folder()); err != nil {
		return true, err
	}
	if err := t.step("files of "+name, cluster.Forget); err != nil {
		return true, err
	}
	others, err := t.Root.Clusters()
	if err != nil || len(others) > 0 {
		return true, err
	}
	return true, t.step("registry, which no cluster needs any more", t.removeRegistry)
}

// removeRegistry ends what all clusters share.
func (t *Tool) removeRegistry() error {
	if running, alive := process.Recorded(t.registryServer().record); alive {
		if err := running.Stop(time.Second); err != nil {
			return err
		}
	}
	if err := state.Group.Kill(ending); err != nil {
		return err
	}
	if err := state.Group.Remove(ending); err != nil {
		return err
	}
	if err := os.RemoveAll(t.registryFolder()); err != nil {
		return fmt.Errorf("failed to remove the folder of the registry: %w", err)
	}
	return nil
}

func noMountsBelow(folder string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("failed to list mounts: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			return fmt.Errorf("%s is mounted; its folder is not removed", fields[4])
		}
	}
	return nil
}
