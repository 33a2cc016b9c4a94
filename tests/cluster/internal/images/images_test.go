package images

import (
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryAt serves the registry of a folder and gives its name.
func registryAt(t *testing.T, folder string) string {
	t.Helper()
	handler, err := newHandler(folder)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// digestOf asks a registry for an image; empty if it has none.
func digestOf(t *testing.T, reference string) string {
	t.Helper()
	parsed, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		return ""
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// writeLayout writes a layout of one random image for each tag.
func writeLayout(t *testing.T, tags ...string) string {
	t.Helper()
	folder := t.TempDir()
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		image, err := random.Image(100, 1)
		if err == nil {
			err = path.AppendImage(image, layout.WithAnnotations(map[string]string{refName: tag}))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestWhatWasPushedIsThereWhenTheRegistryIsStartedAgain(t *testing.T) {
	kept := t.TempDir()
	first := registryAt(t, kept)
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("not really"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := PushProgram(program, first+"/paas/program:1"); err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, first+"/paas/program:1")
	if again := digestOf(t, registryAt(t, kept)+"/paas/program:1"); digest == "" || again != digest {
		t.Errorf("%q was pushed, %q is there", digest, again)
	}
}

func TestEveryTaggedImageOfALayoutIsPushedIntoARepository(t *testing.T) {
	registry := registryAt(t, t.TempDir())
	pushed, err := PushLayout(writeLayout(t, "1", "2"), registry+"/sample")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{registry + "/sample:1", registry + "/sample:2"}; !slices.Equal(pushed, want) {
		t.Errorf("got %v", pushed)
	}
	for _, each := range pushed {
		if digestOf(t, each) == "" {
			t.Errorf("%s is not there", each)
		}
	}
}

func TestOneImageOfALayoutIsChosenByItsTag(t *testing.T) {
	registry := registryAt(t, t.TempDir())
	folder := writeLayout(t, "1", "2")
	pushed, err := PushLayout(folder, registry+"/sample:2")
	if err != nil || !slices.Equal(pushed, []string{registry + "/sample:2"}) {
		t.Errorf("got %v, %v", pushed, err)
	}
	if _, err := PushLayout(folder, registry+"/sample:3"); err == nil || !strings.Contains(err.Error(), `tag "3"`) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyThisMachineIsAnswered(t *testing.T) {
	for text, want := range map[string]bool{"127.0.0.1": true, "10.89.0.1": true, "10.119.0.1": true, "10.8.0.1": false, "192.0.2.2": false} {
		if got := isLocal(net.ParseIP(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}
