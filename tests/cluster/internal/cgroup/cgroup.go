// Package cgroup keeps every process of a cluster in a control group of its own, in each hierarchy of the machine.
//
// A process cannot leave the group by forking, so that the group is the whole list of what a cluster runs: shims and
// containers too. Both versions of control groups are served, also side by side.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Path is a group below the roots of all hierarchies, as in `/paas-cluster/a/node-1`.
type Path string

// Join makes a path of the group's child.
func (p Path) Join(child string) Path { return Path(filepath.Join(string(p), child)) }

// hierarchy is one mounted tree of groups.
type hierarchy struct {
	root    string
	unified bool
	cpuset  bool
}

// hierarchies reads the mounted ones.
func hierarchies() ([]hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("failed to list mounts: %w", err)
	}
	found := parseMounts(string(text))
	if len(found) == 0 {
		return nil, errors.New("no control groups are mounted at /sys/fs/cgroup: kubelet cannot run without them")
	}
	return found, nil
}

// parseMounts finds the hierarchies in the text of mountinfo: see proc_pid_mountinfo(5).
func parseMounts(text string) []hierarchy {
	var found []hierarchy
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 || !strings.HasPrefix(left[4], "/sys/fs/cgroup") {
			continue
		}
		switch right[0] {
		case "cgroup":
			found = append(found, hierarchy{root: left[4], cpuset: strings.Contains(","+right[2]+",", ",cpuset,")})
		case "cgroup2":
			found = append(found, hierarchy{root: left[4], unified: true})
		}
	}
	return found
}

// Create makes the group in every hierarchy.
func (p Path) Create() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range all {
		if err := tree.create(p); err != nil {
			return fmt.Errorf("failed to make the control group %s in %s: %w", p, tree.root, err)
		}
	}
	return nil
}

func (h hierarchy) create(p Path) error {
	folder := h.root
	for name := range strings.SplitSeq(strings.Trim(string(p), "/"), "/") {
		if h.unified {
			delegate(folder)
		}
		parent := folder
		folder = filepath.Join(folder, name)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if h.cpuset {
			// A new group of this controller has no processors and no memory, and takes no process.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := inherit(parent, folder, file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// delegate lets the children of a group use its controllers. Those that the machine does not offer are left out: which
// are needed is the kubelet's to say.
func delegate(folder string) {
	offered, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	if err != nil {
		return
	}
	for name := range strings.FieldsSeq(string(offered)) {
		_ = os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+name), 0o644)
	}
}

func inherit(parent, child, file string) error {
	current, err := os.ReadFile(filepath.Join(child, file))
	if err != nil || strings.TrimSpace(string(current)) != "" {
		return err
	}
	value, err := os.ReadFile(filepath.Join(parent, file))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(child, file), value, 0o644)
}

// Enter moves the calling process into the group.
func (p Path) Enter() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range all {
		file := filepath.Join(tree.root, string(p), "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("failed to enter the control group %s: %w", p, err)
		}
	}
	return nil
}

// Processes lists every process in the group and below it, in any hierarchy.
func (p Path) Processes() ([]int, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	var pids []int
	for _, tree := range all {
		for _, folder := range tree.folders(p) {
			text, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
			if err != nil {
				continue // removed since it was listed
			}
			for word := range strings.FieldsSeq(string(text)) {
				pid, err := strconv.Atoi(word)
				if err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids, nil
}

// folders lists the group and all below it, parents first.
func (h hierarchy) folders(p Path) []string {
	var found []string
	_ = filepath.WalkDir(filepath.Join(h.root, string(p)), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// Kill ends every process of the group, those too that start meanwhile, and waits until none is left.
func (p Path) Kill(bound time.Duration) error {
	deadline := time.Now().Add(bound)
	for {
		pids, err := p.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the control group %s do not end within %v", pids, p, bound)
		}
		for _, pid := range pids {
			p.kill(pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// kill ends a process if it is still one of the group. The handle is taken before the look, so that a number that was
// given to another process meanwhile cannot be hit.
func (p Path) kill(pid int) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = process.Release() }()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && p.holds(string(groups)) {
		_ = process.Signal(syscall.SIGKILL)
	}
}

// holds is whether the text of a /proc/PID/cgroup names the group or one below it.
func (p Path) holds(text string) bool {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && strings.HasPrefix(parts[2]+"/", string(p)+"/") {
			return true
		}
	}
	return false
}

// Remove takes the group and all below it away. They have no processes any more; a group whose last process has just
// ended may take a moment.
func (p Path) Remove(bound time.Duration) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(bound)
	for _, tree := range all {
		for {
			failure := tree.remove(p)
			if failure == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("failed to remove the control group %s: %w", p, failure)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

func (h hierarchy) remove(p Path) error {
	folders := h.folders(p)
	for index := len(folders) - 1; index >= 0; index-- {
		if err := syscall.Rmdir(folders[index]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", folders[index], err)
		}
	}
	return nil
}
