package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// components maps the name of a server to what runs it and gives its exit code.
var components = map[string]func() int{
	"apiserver":          command(apiserver.NewAPIServerCommand),
	"controller-manager": command(controllermanager.NewControllerManagerCommand),
	"coredns":            runCoreDNS,
	"etcd":               runEtcd,
	"kubectl":            runKubectl,
	"kubelet":            command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"metrics-server": command(func() *cobra.Command {
		return metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler())
	}),
	"network-policies": command(newNetworkPoliciesCommand),
	"proxy":            command(proxy.NewProxyCommand),
	"scheduler":        command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
}

// command runs what is built from a cobra command, made only when it is needed: making one registers its flags.
func command(build func() *cobra.Command) func() int {
	return func() int { return cli.Run(build()) }
}

// runKubectl tells failures as kubectl's own main program does.
func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // ends the program
	}
	return 0
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
