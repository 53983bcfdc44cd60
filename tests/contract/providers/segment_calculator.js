// Reads a JSON array of texts from stdin; writes the encoding, the number of segments and the graphemes' lengths of each.
const { SegmentedMessage } = require("sms-segments-calculator");
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
const sizes = texts.map((text) => {
  const message = new SegmentedMessage(text);
  return [message.encodingName, message.segmentsCount, message.graphemes.map((grapheme) => grapheme.length)];
});
process.stdout.write(JSON.stringify(sizes));
