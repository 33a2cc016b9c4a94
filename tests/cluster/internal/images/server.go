// Package images makes test images, and keeps them in a registry on the host that every node pulls from.
package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
)

// manifestPath is the path of a manifest in the distribution API: the repository, and a tag or a digest.
var manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)

// Serve answers as a registry until the context ends. Blobs and manifests are kept in the folder, so that a registry that
// is started again has what was pushed before.
//
// It listens on all addresses, because bridges of clusters come and go, but answers only on loopback and inside of
// 10.0.0.0/8: nobody outside of this machine is to push or pull.
func Serve(ctx context.Context, port int, folder string) error {
	handler, err := newHandler(folder)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("failed to listen: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	if err := http.Serve(localListener{listener}, handler); ctx.Err() == nil {
		return err
	}
	return nil
}

// newHandler is the module's registry, whose blobs are files and whose manifests are in memory, with the manifests
// kept in files too.
func newHandler(folder string) (http.Handler, error) {
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	blobs := filepath.Join(folder, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, fmt.Errorf("failed to make the folder of blobs: %w", err)
	}
	handler := registry.New(quiet, registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))
	kept := manifests{folder: filepath.Join(folder, "manifests"), next: handler}
	return kept, kept.load()
}

// manifests writes each manifest that is pushed into a file: NAME is the repository and the tag, escaped; the first
// line is the media type.
type manifests struct {
	folder string
	next   http.Handler
}

// ServeHTTP lets the registry judge a manifest first, and keeps it if that took it.
func (m manifests) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	parts := manifestPath.FindStringSubmatch(request.URL.Path)
	if request.Method != http.MethodPut || parts == nil {
		m.next.ServeHTTP(writer, request)
		return
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	m.next.ServeHTTP(answer, request)
	if answer.Code == http.StatusCreated {
		if err := m.keep(request.URL.Path, request.Header.Get("Content-Type"), body); err != nil {
			http.Error(writer, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	for name, values := range answer.Header() {
		writer.Header()[name] = values
	}
	writer.WriteHeader(answer.Code)
	_, _ = writer.Write(answer.Body.Bytes())
}

func (m manifests) keep(path, mediaType string, body []byte) error {
	if err := os.MkdirAll(m.folder, 0o755); err != nil {
		return err
	}
	file := filepath.Join(m.folder, strings.ReplaceAll(strings.TrimPrefix(path, "/v2/"), "/", "%"))
	if err := os.WriteFile(file+".new", append([]byte(mediaType+"\n"), body...), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// load pushes what was kept, in an order in which an index comes after what it names.
func (m manifests) load() error {
	entries, err := os.ReadDir(m.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("failed to list the kept manifests: %w", err)
	}
	for _, indexes := range []bool{false, true} {
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(m.folder, entry.Name()))
			if err != nil {
				return fmt.Errorf("failed to read a kept manifest: %w", err)
			}
			mediaType, body, _ := strings.Cut(string(content), "\n")
			isIndex := strings.Contains(mediaType, "index") || strings.Contains(mediaType, "list")
			if isIndex != indexes || strings.HasSuffix(entry.Name(), ".new") {
				continue
			}
			path := "/v2/" + strings.ReplaceAll(entry.Name(), "%", "/")
			request := httptest.NewRequest(http.MethodPut, path, strings.NewReader(body))
			request.Header.Set("Content-Type", mediaType)
			answer := httptest.NewRecorder()
			m.next.ServeHTTP(answer, request)
			if answer.Code != http.StatusCreated {
				log.Printf("%s was kept and is refused now: %s", path, answer.Body)
			}
		}
	}
	return nil
}

// localListener closes connections that came to an address which others can reach.
type localListener struct{ net.Listener }

func (l localListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if address, ok := connection.LocalAddr().(*net.TCPAddr); ok && isLocal(address.IP) {
			return connection, nil
		}
		_ = connection.Close()
	}
}

func isLocal(address net.IP) bool {
	four := address.To4()
	return address.IsLoopback() || four != nil && four[0] == 10 && four[1] >= 89 && four[1] <= 119
}
