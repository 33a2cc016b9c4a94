package cluster

import (
	"context"
	"fmt"

	"paas/tests/cluster/internal/kubeapi"
)

// condition is one of an object's status.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// object is what most kinds have in common.
type object struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Status struct {
		Conditions         []condition `json:"conditions"`
		ObservedGeneration int64       `json:"observedGeneration"`
	} `json:"status"`
}

// lacks gives the reason why an object does not have a condition; none if it does.
func (o object) lacks(kind string) string {
	for _, each := range o.Status.Conditions {
		if each.Type == kind {
			if each.Status == "True" {
				return ""
			}
			return fmt.Sprintf("%s is %s: %s", kind, each.Status, each.Message)
		}
	}
	return kind + " is not reported yet"
}

// notReady reads an object and gives the reason why it lacks a condition.
func notReady(ctx context.Context, client *kubeapi.Client, path, kind string) (string, error) {
	var read object
	if err := client.Read(ctx, path, &read); err != nil {
		return "", err
	}
	if why := read.lacks(kind); why != "" {
		return path + ": " + why, nil
	}
	return "", nil
}

func nodeNotReady(ctx context.Context, client *kubeapi.Client, name string) (string, error) {
	return notReady(ctx, client, "/api/v1/nodes/"+name, "Ready")
}

// addonsReady are the objects by whose conditions the add-ons are judged.
var addonsReady = []struct{ path, kind string }{
	{"/apis/apps/v1/namespaces/kube-system/deployments/coredns", "Available"},
	{"/apis/apps/v1/namespaces/projectcontour/deployments/contour", "Available"},
	{"/apis/apps/v1/namespaces/projectcontour/deployments/envoy", "Available"},
	{"/apis/gateway.networking.k8s.io/v1/gatewayclasses/contour", "Accepted"},
	{"/apis/gateway.networking.k8s.io/v1/namespaces/projectcontour/gateways/gateway", "Programmed"},
}

// metricsReady is the object by which metrics are judged. They need two looks at every node, ten seconds apart, and
// nobody is kept waiting for them who does not ask for any.
const metricsReady = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"

func addonsNotReady(ctx context.Context, client *kubeapi.Client) (string, error) {
	for _, each := range addonsReady {
		if why, err := notReady(ctx, client, each.path, each.kind); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}
