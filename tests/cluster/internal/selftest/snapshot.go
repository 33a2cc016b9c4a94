package selftest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// snapshot is everything on the host that a cluster could leave behind, as lines.
type snapshot map[string]bool

func takeSnapshot(state string) (snapshot, error) {
	found := snapshot{}
	for _, take := range []func(snapshot, string) error{processes, mounts, links, rules, routesOfHost, groups, files} {
		if err := take(found, state); err != nil {
			return nil, fmt.Errorf("failed to look at what is there: %w", err)
		}
	}
	return found, nil
}

// without lists what is here and not there.
func (s snapshot) without(other snapshot) []string {
	var left []string
	for line := range s {
		if !other[line] {
			left = append(left, line)
		}
	}
	return left
}

// processes are those that run one of our programs, or belong to containers, or are in a group of ours. Others come and
// go on a machine.
func processes(found snapshot, state string) error {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	this, err := os.Executable()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		program, _ := os.Readlink(filepath.Join(folder, "exe"))
		groups, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
		arguments, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		command := strings.ReplaceAll(string(arguments), "\x00", " ")
		switch name := filepath.Base(program); {
		case folder == fmt.Sprintf("/proc/%d", os.Getpid()):
		case filepath.Dir(program) == filepath.Dir(this), strings.HasPrefix(name, "containerd"), name == "runc",
			strings.Contains(string(groups), "paas-cluster"), strings.Contains(command, state):
			found["process "+filepath.Base(folder)+" "+command] = true
		}
	}
	return nil
}

// mounts are those of our folder, and of namespaces.
func mounts(found snapshot, state string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, state) || strings.Contains(line, " - nsfs ") {
			fields := strings.Fields(line)
			found["mount "+fields[4]] = true
		}
	}
	return nil
}

func links(found snapshot, _ string) error {
	entries, err := os.ReadDir("/sys/class/net")
	for _, entry := range entries {
		found["link "+entry.Name()] = true
	}
	return err
}

// rules are those of the host's own namespace, of both kinds of iptables where both are there.
func rules(found snapshot, _ string) error {
	for _, program := range []string{"iptables-save", "iptables-legacy-save"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		text, err := exec.Command(path).Output()
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "-A ") {
				found["rule "+strings.TrimSpace(line)] = true
			}
		}
	}
	return nil
}

func routesOfHost(found snapshot, _ string) error {
	text, err := exec.Command("ip", "route", "show", "table", "all").Output()
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "paas") {
			found["route "+strings.TrimSpace(line)] = true
		}
	}
	return err
}

func groups(found snapshot, _ string) error {
	return filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path, "paas-cluster") {
			found["control group "+path] = true
		}
		return nil
	})
}

func files(found snapshot, state string) error {
	entries, err := filepath.Glob(filepath.Join(state, "clusters", "*"))
	for _, path := range entries {
		found["folder "+path] = true
	}
	return err
}
