// Package process starts servers that outlive this program, and knows them again.
//
// A process is remembered by its number and the moment it started, because numbers are given again: what is stopped
// is what was started here, or nothing.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"paas/tests/cluster/internal/cgroup"
)

// Process is one that was started here.
type Process struct {
	PID int `json:"pid"`
	// Start is when it started, in the kernel's ticks since boot.
	Start uint64 `json:"start"`
}

// Spec says how a server is started.
type Spec struct {
	// Name is that of its log and of its record.
	Name string
	// Arguments are the program and what follows it.
	Arguments []string
	// Environment is added to that of this program.
	Environment []string
	// Log is the file that its output is appended to.
	Log string
	// Record is the file that remembers the process.
	Record string
	// Group is the control group that it lives in.
	Group cgroup.Path
	// Node is the process whose namespaces it shares; none for a server on the host.
	Node *Process
}

// Start runs the server in a session of its own and records it.
func Start(spec Spec) (Process, error) {
	this, err := os.Executable()
	if err != nil {
		return Process{}, fmt.Errorf("failed to find this program: %w", err)
	}
	arguments := []string{"enter", string(spec.Group)}
	if spec.Node != nil {
		arguments = append(arguments, "nsenter", "--target", strconv.Itoa(spec.Node.PID),
			"--mount", "--net", "--uts", "--ipc", "--wd=/", "--")
	}
	return spec.run(exec.Command(this, append(arguments, spec.Arguments...)...))
}

// run starts a prepared command with the specification's log and environment.
func (spec Spec) run(command *exec.Cmd) (Process, error) {
	for _, file := range []string{spec.Log, spec.Record} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return Process{}, fmt.Errorf("failed to make a folder for %s: %w", spec.Name, err)
		}
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, fmt.Errorf("failed to open the log of %s: %w", spec.Name, err)
	}
	defer log.Close()
	fmt.Fprintf(log, "==== %s started at %s\n", spec.Name, time.Now().Format(time.RFC3339))
	command.Stdout, command.Stderr, command.Dir = log, log, "/"
	command.Env = append(os.Environ(), spec.Environment...)
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setsid = true
	if err := command.Start(); err != nil {
		return Process{}, fmt.Errorf("failed to start %s: %w", spec.Name, err)
	}
	process, found := find(command.Process.Pid)
	// Reaped when it ends while this program runs, so that it is not taken for alive.
	go func() { _ = command.Wait() }()
	if !found {
		return Process{}, fmt.Errorf("%s ended at once:\n%s", spec.Name, Tail(spec.Log))
	}
	return process, process.record(spec.Record)
}

// StartNode runs the process that holds a node's namespaces: a child of this program's own binary, in new ones.
func StartNode(spec Spec) (Process, error) {
	this, err := os.Executable()
	if err != nil {
		return Process{}, fmt.Errorf("failed to find this program: %w", err)
	}
	command := exec.Command(this, append([]string{"enter", string(spec.Group), this}, spec.Arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	return spec.run(command)
}

func (p Process) record(path string) error {
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("failed to record process %d: %w", p.PID, err)
	}
	return nil
}

// Recorded is the process of a record, when it is still alive.
func Recorded(path string) (Process, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Process{}, false
	}
	var process Process
	if err := json.Unmarshal(text, &process); err != nil {
		return Process{}, false // cut off while it was written
	}
	return process, process.Alive()
}

// Alive is whether this very process still runs.
func (p Process) Alive() bool {
	now, found := find(p.PID)
	return found && now == p
}

// Stop asks the process to end, and makes it after the grace time.
func (p Process) Stop(grace time.Duration) error {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return nil
	}
	defer func() { _ = handle.Release() }()
	// After the handle is taken: it is of this process or of none.
	if !p.Alive() {
		return nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		bound  time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 10 * time.Second}} {
		if err := handle.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("failed to stop process %d: %w", p.PID, err)
		}
		for deadline := time.Now().Add(step.bound); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if !p.Alive() {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d does not end", p.PID)
}

// find looks a process up; one that has ended and was not yet waited for is none.
func find(pid int) (Process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	state, start, err := parseStat(string(text))
	if err != nil || state == "Z" || state == "X" {
		return Process{}, false
	}
	return Process{PID: pid, Start: start}, true
}

// parseStat reads the state and the start time: fields 3 and 22 of proc_pid_stat(5). The name before them is in
// parentheses and may have any character in it.
func parseStat(text string) (string, uint64, error) {
	end := strings.LastIndex(text, ")")
	if end < 0 {
		return "", 0, fs.ErrInvalid
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return "", 0, fs.ErrInvalid
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return fields[0], start, err
}
