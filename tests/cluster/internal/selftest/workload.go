package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"paas/tests/cluster/internal/addons"
	"paas/tests/cluster/internal/cluster"
)

const namespace = "selftest"

// workload is a web server of three pods, spread over the nodes, with a Service, and a server that echoes.
const workload = `
apiVersion: v1
kind: Namespace
metadata: {name: selftest}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: selftest}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: "%[1]s"
        args: [serve, hello]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: selftest}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: selftest}
spec:
  replicas: 1
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
      - {name: echo, image: "%[1]s", args: [echo, "7000"]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: selftest}
spec:
  selector: {app: echo}
  ports: [{port: 7000}]
`

// routes lead from the Gateway's listeners to the services.
const routes = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: selftest}
spec:
  parentRefs: [{namespace: projectcontour, name: gateway, sectionName: http}]
  hostnames: [web.example.test]
  rules:
  - backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: echo, namespace: selftest}
spec:
  parentRefs: [{namespace: projectcontour, name: gateway, sectionName: tcp-1}]
  rules:
  - backendRefs: [{name: echo, port: 7000}]
`

// pod is what is read of one.
type pod struct {
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		ContainerStatuses []struct {
			Ready        bool `json:"ready"`
			RestartCount int  `json:"restartCount"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

func (p pod) ready() bool {
	return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready
}

// pods lists those of an app.
func (r *run) pods(ctx context.Context, app string) ([]pod, error) {
	var list struct {
		Items []pod `json:"items"`
	}
	err := r.client.Read(ctx, "/api/v1/namespaces/"+namespace+"/pods?labelSelector=app%3D"+app, &list)
	return list.Items, err
}

func (r *run) deploy(ctx context.Context) error {
	image := cluster.ProbeImage(r.status.Registry.Push)
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := r.client.Apply(bounded, fmt.Sprintf(workload, image)); err != nil {
		return err
	}
	return eventually(ctx, time.Minute, func(ctx context.Context) error {
		for app, want := range map[string]int{"web": 3, "echo": 1} {
			all, err := r.pods(ctx, app)
			if err != nil {
				return err
			}
			ready := 0
			for _, each := range all {
				if each.ready() {
					ready++
				}
			}
			if ready != want {
				return fmt.Errorf("%d of %d pods of %s are ready", ready, want, app)
			}
		}
		return nil
	})
}

func (r *run) spread(ctx context.Context) error {
	_, err := r.podOnEachNode(ctx)
	return err
}

// podOnEachNode gives the name of one pod of the web server for each node.
func (r *run) podOnEachNode(ctx context.Context) (map[string]string, error) {
	all, err := r.pods(ctx, "web")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, each := range all {
		found[each.Spec.NodeName] = each.Metadata.Name
	}
	if len(found) != len(r.status.Nodes) {
		return nil, fmt.Errorf("pods are on %v only", found)
	}
	return found, nil
}

// kubectl runs the one that was built with the cluster.
func (r *run) kubectl(ctx context.Context, arguments ...string) (string, error) {
	arguments = append([]string{"--kubeconfig", r.status.Kubeconfig, "--namespace", namespace}, arguments...)
	command := exec.CommandContext(ctx, r.status.Kubectl, arguments...)
	output, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments[4:], " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(output), err
}

// inPod runs the probe in a pod.
func (r *run) inPod(ctx context.Context, pod string, arguments ...string) (string, error) {
	return r.kubectl(ctx, append([]string{"exec", pod, "--", "/probe"}, arguments...)...)
}

func (r *run) resolve(ctx context.Context) error {
	found, err := r.podOnEachNode(ctx)
	if err != nil {
		return err
	}
	for node, pod := range found {
		answer, err := r.inPod(ctx, pod, "lookup", "web")
		if err != nil {
			return fmt.Errorf("on %s: %w", node, err)
		}
		if strings.TrimSpace(answer) == "" {
			return fmt.Errorf("on %s: the name has no address", node)
		}
	}
	return nil
}

// service asks the Service from a pod of each node, until pods of both nodes have answered each.
func (r *run) service(ctx context.Context) error {
	found, err := r.podOnEachNode(ctx)
	if err != nil {
		return err
	}
	for node, pod := range found {
		err := eventually(ctx, time.Minute, func(ctx context.Context) error {
			answers, err := r.inPod(ctx, pod, "ask", "http://web/")
			if err != nil {
				return err
			}
			for other, name := range found {
				if !strings.Contains(answers, "hello "+name+"\n") {
					return fmt.Errorf("from %s nothing on %s answered", node, other)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) logs(ctx context.Context) error {
	text, err := r.kubectl(ctx, "logs", "deployment/web")
	if err == nil && !strings.Contains(text, "serving hello") {
		err = fmt.Errorf("the log is %q", text)
	}
	return err
}

func (r *run) metrics(ctx context.Context) error {
	return eventually(ctx, time.Minute, func(ctx context.Context) error {
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Usage    struct{ CPU, Memory string }
			}
		}
		if err := r.client.Read(ctx, "/apis/metrics.k8s.io/v1beta1/nodes", &list); err != nil {
			return err
		}
		if len(list.Items) != len(r.status.Nodes) || list.Items[0].Usage.Memory == "" {
			return fmt.Errorf("there are metrics of %d nodes", len(list.Items))
		}
		return nil
	})
}

func (r *run) httpRoute(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := r.client.Apply(bounded, routes); err != nil {
		return err
	}
	return eventually(ctx, 30*time.Second, func(ctx context.Context) error { return r.throughGateway(ctx) })
}

// throughGateway asks for the web server from the host.
func (r *run) throughGateway(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.status.Gateway.Address+"/", nil)
	if err != nil {
		return err
	}
	request.Host = "web.example.test"
	// A connection of its own each time, so that each is judged and spread anew; and no proxy on the way.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(text), "hello ") {
		return fmt.Errorf("the Gateway answers %s: %q", answer.Status, text)
	}
	return nil
}

func (r *run) tcpRoute(ctx context.Context) error {
	listeners := r.status.Gateway.Listeners
	index := slices.IndexFunc(listeners, func(each addons.Listener) bool { return each.Name == "tcp-1" })
	if index < 0 {
		return errors.New("the Gateway has no such listener")
	}
	target := net.JoinHostPort(r.status.Gateway.Address, strconv.Itoa(listeners[index].Port))
	return eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		dialer := net.Dialer{Timeout: time.Second}
		connection, err := dialer.DialContext(ctx, "tcp", target)
		if err != nil {
			return err
		}
		defer connection.Close()
		if err := connection.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := connection.Write([]byte("ping")); err != nil {
			return err
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(connection, answer); err != nil {
			return err
		}
		if string(answer) != "ping" {
			return fmt.Errorf("the echo is %q", answer)
		}
		return nil
	})
}
