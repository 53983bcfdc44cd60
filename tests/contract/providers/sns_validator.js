// Reads a JSON array of SNS messages from stdin; writes whether Amazon's validator takes each. HOST is the host of the certificates.
const Validator = require("sns-validator");
const messages = JSON.parse(require("fs").readFileSync(0, "utf8"));
const host = process.env.HOST.replace(/\./g, "\\.");
const validator = new Validator(new RegExp("^" + host + "$"));
const take = (message) => new Promise((resolve) => validator.validate(message, (error) => resolve(!error)));
// One after the other, so that the certificate is fetched once.
const takeAll = async () => {
  const taken = [];
  for (const message of messages) taken.push(await take(message));
  process.stdout.write(JSON.stringify(taken));
};
takeAll();
