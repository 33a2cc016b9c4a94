package addons

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestEveryManifestIsYAMLWhenItIsFilled(t *testing.T) {
	filled, err := render(values{Image: "registry/pause:1", Tools: "/tools", Loader: "/lib64", DNS: "10.89.64.10", ResolvesOutside: true, Listeners: Listeners})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, stream := range filled {
		for _, document := range strings.Split(stream, "\n---\n") {
			var object struct{ Kind string }
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatalf("%v\n%s", err, document)
			}
			kinds[object.Kind]++
		}
	}
	if kinds["Deployment"] != 4 || kinds["Gateway"] != 1 || kinds[""] != 0 {
		t.Errorf("got %v", kinds)
	}
}

func TestNoServerIsAskedWhereNoneIsReachable(t *testing.T) {
	filled, err := render(values{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(filled, ""), "forward .") {
		t.Error("CoreDNS is told to forward, and would not start")
	}
}
