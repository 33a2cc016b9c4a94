package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"paas/tests/cluster/internal/addons"
	"paas/tests/cluster/internal/cluster"
	"paas/tests/cluster/internal/images"
	"paas/tests/cluster/internal/selftest"
	"paas/tests/cluster/internal/state"
)

// options are those of every command.
type options struct {
	name, state, kit string
}

func (o *options) register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&o.name, "name", "a", "which cluster")
	flags.StringVar(&o.state, "state", state.DefaultRoot, "the folder where clusters are kept")
	flags.StringVar(&o.kit, "kit", "", "the folder that was built; by default the one that this program lies in")
}

func (o *options) tool() (*cluster.Tool, error) {
	kit := o.kit
	if kit == "" {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("failed to find this program: %w", err)
		}
		kit = filepath.Dir(filepath.Dir(program))
	}
	return &cluster.Tool{
		Root:     state.Root(o.state),
		Kit:      addons.Kit{Programs: filepath.Join(kit, "bin"), Manifests: filepath.Join(kit, "manifests")},
		Progress: os.Stderr,
	}, nil
}

func upCommand(options *options) *cobra.Command {
	var nodes int
	command := &cobra.Command{
		Use:   "up",
		Short: "Bring a cluster up, or heal it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			changed, err := tool.Up(command.Context(), options.name, nodes)
			if err != nil {
				return err
			}
			if !changed {
				fmt.Fprintf(os.Stderr, "the cluster %s was up already\n", options.name)
			}
			return show(command, tool, options.name, "")
		},
	}
	command.Flags().IntVar(&nodes, "nodes", 0, "how many nodes; by default as many as it has, or 1")
	return command
}

func downCommand(options *options) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "down",
		Short: "Take a cluster down, and remove everything of it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			names := []string{options.name}
			if all {
				if names, err = namesOf(tool); err != nil {
					return err
				}
			}
			for _, name := range names {
				found, err := tool.Down(command.Context(), name)
				if err != nil {
					return err
				}
				if !found {
					fmt.Fprintf(os.Stderr, "there is no cluster %s\n", name)
				}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&all, "all", false, "every cluster of the machine")
	return command
}

func namesOf(tool *cluster.Tool) ([]string, error) {
	clusters, err := tool.Root.Clusters()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, each := range clusters {
		names = append(names, each.Name)
	}
	return names, nil
}

func statusCommand(options *options) *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "status",
		Short: "Say how the clusters are, and how they are reached; fails unless they are ready",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			names := []string{options.name}
			if !command.Flags().Changed("name") {
				if names, err = namesOf(tool); err != nil {
					return err
				}
			}
			if len(names) == 0 {
				fmt.Fprintln(os.Stderr, "there is no cluster; `up` brings one up")
				return errSilent
			}
			for _, name := range names {
				if err := show(command, tool, name, output); err != nil {
					return err
				}
			}
			return nil
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "`json`: one object for each cluster")
	return command
}

// show prints the status of a cluster.
func show(command *cobra.Command, tool *cluster.Tool, name, output string) error {
	status, found, err := tool.Status(command.Context(), name)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("there is no cluster %s; `up --name %s` brings it up", name, name)
	}
	switch output {
	case "json":
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(status)
	case "":
		err = status.Print(os.Stdout)
	default:
		err = fmt.Errorf("there is no output %q", output)
	}
	if err == nil && !status.Ready {
		return errSilent
	}
	return err
}

func kubeconfigCommand(options *options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			cluster, found, err := tool.Root.Find(options.name)
			if err != nil {
				return err
			}
			if !found {
				return fmt.Errorf("there is no cluster %s; `up --name %[1]s` brings it up", options.name)
			}
			fmt.Println(cluster.Kubeconfig())
			return nil
		},
	}
}

func pushCommand(options *options) *cobra.Command {
	return &cobra.Command{
		Use:   "push LAYOUT REFERENCE",
		Short: "Put images of an OCI layout, a folder or an archive, into the registry",
		Long: "Put images of an OCI layout, a folder or an archive, into the registry of the clusters.\n\n" +
			"REFERENCE is `sample:1`, the image of that tag, or `sample`, every image that has a tag; the name of the\n" +
			"registry goes before it by itself. What nodes pull is printed.",
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			registry, err := tool.RegistryName()
			if err != nil {
				return err
			}
			reference := strings.TrimPrefix(arguments[1], registry+"/")
			pushed, err := images.PushLayout(arguments[0], registry+"/"+reference)
			for _, each := range pushed {
				fmt.Println(each)
			}
			return err
		},
	}
}

func testCommand(options *options) *cobra.Command {
	var keep bool
	command := &cobra.Command{
		Use:   "test",
		Short: "Bring clusters up, use and break them, and take them down: the test of this program",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			tool, err := options.tool()
			if err != nil {
				return err
			}
			return selftest.Run(command.Context(), tool, os.Stdout, keep)
		},
	}
	command.Flags().BoolVar(&keep, "keep", false, "leave the clusters up")
	return command
}
