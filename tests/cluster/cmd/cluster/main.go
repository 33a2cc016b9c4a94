// Command cluster brings real Kubernetes clusters up and down on one Linux machine, for tests.
//
// `cargo xtask cluster` builds it and passes everything on to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// errSilent ends the program with a failure that was told already.
var errSilent = errors.New("")

func main() {
	// Ctrl-C ends a wait, not the servers: they have sessions of their own.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:               "cluster",
		Short:             "Real Kubernetes clusters on this machine, for tests",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	options := &options{}
	options.register(root)
	root.AddCommand(upCommand(options), downCommand(options), statusCommand(options), kubeconfigCommand(options),
		pushCommand(options), testCommand(options), enterCommand(), holdCommand(), registryCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		os.Exit(1)
	}
}
