package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"paas/tests/cluster/internal/kubeapi"
)

// podState is what tells why a pod is not ready.
type podState struct {
	Metadata struct{ Namespace, Name string }
	Status   struct {
		Phase                                    string
		Conditions                               []condition
		InitContainerStatuses, ContainerStatuses []containerState
	}
}

type containerState struct {
	Name         string
	Ready        bool
	RestartCount int
	State        struct {
		Waiting *struct{ Reason, Message string }
	}
}

// troubles describes the add-ons' pods that are not ready, each with the end of its log, for a message about a failure.
func troubles(ctx context.Context, client *kubeapi.Client) string {
	// The caller's context may have ended: its end may be the failure.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var text strings.Builder
	for _, namespace := range []string{"kube-system", "projectcontour"} {
		var list struct{ Items []podState }
		if err := client.Read(ctx, "/api/v1/namespaces/"+namespace+"/pods", &list); err != nil {
			fmt.Fprintf(&text, "\nfailed to look at the pods of %s: %v", namespace, err)
			continue
		}
		for _, pod := range list.Items {
			describe(ctx, client, &text, pod)
		}
	}
	return text.String()
}

func describe(ctx context.Context, client *kubeapi.Client, text *strings.Builder, pod podState) {
	place := pod.Metadata.Namespace + "/pods/" + pod.Metadata.Name
	if len(pod.Status.ContainerStatuses) == 0 {
		fmt.Fprintf(text, "\n%s is %s: %v", place, pod.Status.Phase, pod.Status.Conditions)
	}
	for _, each := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if each.Ready {
			continue
		}
		fmt.Fprintf(text, "\n%s: container %s is not ready, started again %d times", place, each.Name, each.RestartCount)
		if waiting := each.State.Waiting; waiting != nil {
			fmt.Fprintf(text, ", %s: %s", waiting.Reason, waiting.Message)
		}
		log, err := client.Get(ctx, "/api/v1/namespaces/"+place+"/log?tailLines=20&container="+each.Name)
		if err == nil {
			fmt.Fprintf(text, "\n  %s", strings.ReplaceAll(strings.TrimSpace(string(log)), "\n", "\n  "))
		}
	}
}
