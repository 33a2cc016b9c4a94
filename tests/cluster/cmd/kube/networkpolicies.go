package main

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// newNetworkPoliciesCommand makes the server that judges the first packet of each connection by the NetworkPolicies of
// the cluster. The packets reach it through a netfilter queue.
//
// The module's own command runs in pods only. It would also put the rules into nftables that fill the queue, which
// needs a kernel with nft_queue; where there is none it says so in its log, and goes on. The rules that count here are
// those of iptables, which were made with the node.
func newNetworkPoliciesCommand() *cobra.Command {
	var kubeconfig, node string
	var queue int
	command := &cobra.Command{
		Use:          "network-policies",
		Short:        "Judge new connections by NetworkPolicies",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return enforceNetworkPolicies(ctx, kubeconfig, node, queue)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&node, "node", "", "the node whose pods are protected")
	command.Flags().IntVar(&queue, "queue", 100, "the number of the netfilter queue")
	return command
}

func enforceNetworkPolicies(ctx context.Context, kubeconfig, node string, queue int) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil, // the alpha policies of administrators
		networkpolicy.Config{NodeName: node, QueueID: queue},
	)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	return controller.Run(ctx)
}
