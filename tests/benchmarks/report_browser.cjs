// A report in headless Chromium with the network cut: what moves, what is asked for, what axe says; one line of JSON.
// In a folder of your own: npm install puppeteer-core axe-core; then, with $CHROMIUM if it is elsewhere,
//   NODE_PATH=$PWD/node_modules node tests/benchmarks/report_browser.cjs /full/path/of/report.html
// Renders in software, so it needs no graphics card. A page without a molecule in motion has no such section, and then
// nothing is said of it. Pictures go beside the report: report-390-dark-player.png, report-390-dark.png (the page), …
const crypto = require("crypto");
const puppeteer = require("puppeteer-core");

const file = process.argv[2];
const views = [
  ["1280", "light", true], ["1280", "dark", true], ["390", "light", true], ["390", "dark", true], ["1280", "light", false],
];
const digest = (bytes) => crypto.createHash("md5").update(bytes).digest("hex");
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function pictures(page) {
  const found = [];
  for (const element of await page.$$("#molecule .canvas")) found.push(digest(await element.screenshot()));
  return found;
}

function player(page) {
  return page.evaluate(() => {
    const shown = {};
    for (const canvas of document.querySelectorAll("#player canvas")) shown[canvas.className] = canvas.toDataURL();
    document.querySelectorAll("#player .trace").forEach((trace, i) => {
      shown[`trace ${i}`] = trace.querySelector(".readout").textContent + trace.querySelector(".cursor").getAttribute("x1");
    });
    shown.spoken = document.querySelector("#player .frame").getAttribute("aria-valuetext");
    return shown;
  });
}

const same = (one, other) => Object.keys(one).filter((key) => one[key] === other[key]);

async function looked(browser, width, scheme, webgl) {
  const page = await browser.newPage();
  const result = { width, scheme, webgl, console: [], requests: [] };
  await page.setViewport({ width: Number(width), height: 900, isMobile: width < 500, hasTouch: width < 500 });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: width < 500 ? "reduce" : "no-preference" },
  ]);
  page.on("console", (message) => { if (["error", "warn"].includes(message.type())) result.console.push(message.text()); });
  page.on("pageerror", (error) => result.console.push(error.message));
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url()) && request.url() !== `file://${file}`) result.requests.push(request.url());
  });
  await page.goto(`file://${file}`);
  await page.waitForFunction(() => {
    const molecule = document.querySelector("#molecule");
    const done = !molecule || molecule.dataset.drawn || !molecule.querySelector(".fallback").hidden;
    return done && document.querySelector("#player").dataset.drawn;
  }, { timeout: 120000 });
  const first = await player(page);
  await wait(1000);
  result.plays_by_itself = same(first, await player(page)).length < Object.keys(first).length;
  await page.focus("#player .frame");
  await page.keyboard.press("ArrowRight");
  const second = await player(page);
  result.shown = Object.keys(first);
  result.unmoved_by_arrow_key = same(first, second);
  await page.keyboard.press(" ");
  await wait(1500);
  await page.keyboard.press(" ");
  result.unmoved_by_space_bar = same(second, await player(page));
  const molecule = await page.$("#molecule");
  if (molecule && webgl) {
    const still = await pictures(page);
    await page.focus("#molecule .along");
    await page.keyboard.press("End");
    await wait(1000);
    const moved = await pictures(page);
    await page.focus("#molecule .canvas");
    await page.keyboard.press("ArrowLeft");
    await wait(1000);
    const turned = await pictures(page);
    result.molecule_moves = moved.every((picture, i) => picture !== still[i]);
    result.all_views_turn = turned.every((picture, i) => picture !== moved[i]);
  } else if (molecule) {
    result.fallback_shown = await page.$eval("#molecule .fallback", (element) => !element.hidden);
  }
  result.wider_than_screen = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  result.scrolls_sideways = await page.evaluate(() => [...document.querySelectorAll(".wide")]
    .filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.getAttribute("aria-label")));
  if (webgl) {
    for (const id of ["molecule", "player"]) {
      const part = await page.$(`#${id}`);
      if (part) await part.screenshot({ path: file.replace(/\.html$/, `-${width}-${scheme}-${id}.png`) });
    }
    await page.screenshot({ path: file.replace(/\.html$/, `-${width}-${scheme}.png`), fullPage: true });
  }
  await page.addScriptTag({ path: require.resolve("axe-core/axe.min.js") });
  result.axe = await page.evaluate(async () => (await axe.run(document)).violations.map((violation) => violation.id));
  await page.close();
  return result;
}

(async () => {
  const results = [];
  for (const [width, scheme, webgl] of views) {
    const browser = await puppeteer.launch({
      executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
      protocolTimeout: 600000,
      args: [
        "--no-sandbox", "--proxy-server=127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND",
        ...(webgl ? ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"] : ["--disable-3d-apis"]),
      ],
    });
    results.push(await looked(browser, width, scheme, webgl));
    await browser.close();
  }
  console.log(JSON.stringify(results));
})();
