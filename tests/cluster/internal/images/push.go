package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refName is how an OCI layout names the tag of an image in it.
const refName = "org.opencontainers.image.ref.name"

// PushProgram makes an image of one static program and nothing else, and pushes it.
func PushProgram(program, reference string) error {
	layer, err := programLayer(program)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return fmt.Errorf("failed to make the image %s: %w", reference, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("failed to make the image %s: %w", reference, err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint = []string{"/" + filepath.Base(program)}
	file.Config.User = "65532:65532"
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return fmt.Errorf("failed to make the image %s: %w", reference, err)
	}
	return push(image, reference)
}

// programLayer holds the program and a /tmp that all may write to.
func programLayer(program string) (v1.Layer, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("failed to read what an image is made of: %w", err)
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	err = errors.Join(
		writer.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}),
		writer.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(content))}),
	)
	if err == nil {
		_, err = writer.Write(content)
	}
	if err := errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("failed to make a layer of %s: %w", program, err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// PushLayout pushes the images of an OCI layout, a folder or an archive of one. A reference without a tag stands for
// a repository: every image of the layout that has a tag goes there under it. With a tag it is the image of that tag,
// or the only one.
func PushLayout(path, reference string) ([]string, error) {
	folder, remove, err := openLayout(path)
	if err != nil {
		return nil, err
	}
	defer remove()
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, fmt.Errorf("%s is no OCI layout: %w", path, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("failed to read the index of %s: %w", path, err)
	}
	chosen, err := choose(manifest.Manifests, reference)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var pushed []string
	for _, each := range chosen {
		image, err := index.Image(each.digest)
		if err != nil {
			return pushed, fmt.Errorf("failed to read an image of %s: %w", path, err)
		}
		if err := push(image, each.reference); err != nil {
			return pushed, err
		}
		pushed = append(pushed, each.reference)
	}
	return pushed, nil
}

type choice struct {
	digest    v1.Hash
	reference string
}

// choose finds the images of a layout that a reference stands for.
func choose(manifests []v1.Descriptor, reference string) ([]choice, error) {
	if tag, err := name.NewTag(reference, name.StrictValidation, name.Insecure); err == nil {
		for _, each := range manifests {
			if each.Annotations[refName] == tag.TagStr() || len(manifests) == 1 {
				return []choice{{each.Digest, reference}}, nil
			}
		}
		return nil, fmt.Errorf("none of its %d images has the tag %q", len(manifests), tag.TagStr())
	}
	repository, err := name.NewRepository(reference, name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("%q names neither an image nor a repository: %w", reference, err)
	}
	var all []choice
	for _, each := range manifests {
		if tag := each.Annotations[refName]; tag != "" {
			all = append(all, choice{each.Digest, repository.Name() + ":" + tag})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("none of its images has a tag")
	}
	return all, nil
}

func push(image v1.Image, reference string) error {
	target, err := name.ParseReference(reference, name.Insecure)
	if err == nil {
		err = remote.Write(target, image)
	}
	if err != nil {
		return fmt.Errorf("failed to push %s: %w", reference, err)
	}
	return nil
}

// openLayout gives the folder of a layout, unpacked if it is an archive.
func openLayout(path string) (string, func(), error) {
	status, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("failed to look at the layout: %w", err)
	}
	if status.IsDir() {
		return path, func() {}, nil
	}
	folder, err := os.MkdirTemp("", "paas-layout-")
	if err != nil {
		return "", nil, fmt.Errorf("failed to make a folder for %s: %w", path, err)
	}
	remove := func() { _ = os.RemoveAll(folder) }
	if err := unpack(path, folder); err != nil {
		remove()
		return "", nil, fmt.Errorf("failed to unpack %s: %w", path, err)
	}
	return folder, remove, nil
}

func unpack(archive, folder string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	root, err := os.OpenRoot(folder) // nothing is written outside, whatever the archive names
	if err != nil {
		return err
	}
	defer root.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(filepath.Clean(header.Name)), 0o755); err != nil {
			return err
		}
		target, err := root.Create(filepath.Clean(header.Name))
		if err != nil {
			return err
		}
		_, err = io.Copy(target, reader)
		if err := errors.Join(err, target.Close()); err != nil {
			return err
		}
	}
}
