#!/bin/sh
# serving_root.sh FOLDER: copy what modiste serve needs into FOLDER: Python, the environment /opt/modiste, and the shared
# libraries of both. Tests, tools for developers, and ONNX Runtime's second copy for C programs stay behind.
set -eu
root=$1
python=$(readlink -f /opt/modiste/bin/python)
library=/usr/lib/$(basename "$python")

cd /opt/modiste/lib/python3*/site-packages
rm -rf pip pip-*.dist-info numpy/f2py numpy/distutils
rm -rf onnxruntime/backend onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers
rm -f onnxruntime/capi/libonnxruntime.so*
find . -type d -name tests -prune -exec rm -rf {} +

mkdir -p "$root/usr/lib" "$root/usr/lib64" "$root/usr/bin" "$root/etc" "$root/model"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
ln -s usr/bin "$root/bin"
mkdir -m 1777 "$root/tmp"
echo 'modiste:x:65532:65532::/tmp:/sbin/nologin' > "$root/etc/passwd"

cp -a --parents /usr/bin/python3 "$python" "$library" /opt/modiste "$root"
cd "$root$library"
rm -rf config-* distutils ensurepip idlelib lib2to3 pydoc_data test tkinter turtledemo

# The loader and the shared libraries, under the names by which they are asked for.
{
	echo "$python"
	find /opt/modiste "$root$library" -name '*.so*' -type f
} | xargs ldd 2>/dev/null | sed -n 's#.*=> \(/[^ ]*\).*#\1#p; s#^[[:space:]]*\(/[^ ]*ld-[^ ]*\).*#\1#p' | grep -v '^/opt/modiste' |
	sed 's#^/lib#/usr/lib#' | sort -u | while read -r name; do
	mkdir -p "$root$(dirname "$name")"
	cp -L "$name" "$root$name"
done

# What is left must be able to classify a picture of every kind.
chroot "$root" /opt/modiste/bin/python -I -c '
import io
import numpy
from PIL import Image, ImageCms, features
from modiste.photo.garment import prepare
from modiste.serving import app, server
picture = Image.new("RGB", (64, 64), "white")
picture.paste("black", (16, 16, 48, 48))
for kind in ("jpeg", "png", "webp", "avif", "tiff", "bmp", "gif"):
    content = io.BytesIO()
    picture.save(content, kind)
    prepare(content.getvalue())
import onnxruntime
'
