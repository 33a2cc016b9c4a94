package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"paas/tests/cluster/internal/cgroup"
	"paas/tests/cluster/internal/images"
	"paas/tests/cluster/internal/node"
)

// init keeps the main goroutine on the first thread. When another thread becomes a program, the kernel shows the process
// as ended for a moment.
func init() { runtime.LockOSThread() }

// enterCommand becomes another program in a control group. It stays the same process, so that it is known by its
// number from the beginning, and nothing of it can ever be outside of the group.
func enterCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "enter GROUP PROGRAM [ARGUMENTS]",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			if err := cgroup.Path(arguments[0]).Enter(); err != nil {
				return err
			}
			program, err := exec.LookPath(arguments[1])
			if err != nil {
				return fmt.Errorf("failed to find %s: %w", arguments[1], err)
			}
			err = syscall.Exec(program, arguments[1:], os.Environ())
			return fmt.Errorf("failed to become %s: %w", program, err)
		},
	}
}

// holdCommand keeps the namespaces of a node.
func holdCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "hold FOLDER NAME",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			return node.Hold(arguments[0], arguments[1])
		},
	}
}

// registryCommand is the registry.
func registryCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "registry PORT FOLDER",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, arguments []string) error {
			port, err := strconv.Atoi(arguments[0])
			if err != nil {
				return fmt.Errorf("%q is no port: %w", arguments[0], err)
			}
			return images.Serve(command.Context(), port, arguments[1])
		},
	}
}
