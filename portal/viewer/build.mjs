// Bundles the image view, the table, the upload and the slider of the portal's pages into the Python package; nothing is fetched at run time.
import { build } from "esbuild";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Licences of the packages that went into an output, as one comment. */
function notices(inputs) {
  const folders = new Set();
  for (const input of Object.keys(inputs)) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) folders.add(resolve(process.cwd(), found[1]));
  }
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = ["LICENSE.md", "LICENSE", "license", "LICENSE.txt"].map((f) => join(folder, f)).find(existsSync);
    return `${name} ${version} (${license})\n${file ? readFileSync(file, "utf8").trim() : ""}`;
  });
  return texts.length === 0 ? "" : `/*!\n${texts.join("\n\n").replaceAll("*/", "* /")}\n*/\n`;
}

const { metafile } = await build({
  entryPoints: {
    skycoordinates: join(here, "src/coordinates_entry.ts"),
    skyimage: join(here, "src/image_entry.ts"),
    skymap: join(here, "src/skymap_entry.ts"),
    skyquery: join(here, "src/query_entry.ts"),
    skyrange: join(here, "src/range_entry.ts"),
    skytable: join(here, "src/table_entry.ts"),
    skyupload: join(here, "src/upload_entry.ts"),
    notebook: join(here, "src/notebook_entry.ts"),
    pagelink: join(here, "src/pagelink_entry.ts"),
  },
  entryNames: "[name].bundle",
  outdir: join(here, "../src/skydesk_portal/ui/assets"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  loader: { ".css": "text" },
  logLevel: "info",
  metafile: true,
});

for (const [path, output] of Object.entries(metafile.outputs)) {
  const file = resolve(process.cwd(), path);
  writeFileSync(file, notices(output.inputs) + readFileSync(file, "utf8"));
}
