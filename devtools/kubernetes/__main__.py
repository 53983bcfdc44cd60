"""`python -m devtools.kubernetes`: writes the generated manifests."""

from devtools.kubernetes.files import generated

if __name__ == "__main__":
    for file, text in generated().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        print(file)
