/** Status, title and words of a page of the router's own. */
function page(title: string, heading: string, text: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;color:#333;background:#fff;margin:15vh auto;max-width:36em;padding:0 1em}h1{font-size:1.5em}</style></head>
<body><h1>${heading}</h1><p>${text}</p></body>
</html>
`;
}

/** All H errors but H80. */
export const APPLICATION_ERROR = page(
  "Application Error",
  "Application error",
  "An error occurred in the application and your page could not be served. If you are the application owner, check your logs for details: <code>sluice logs --tail</code>",
);
export const NO_SUCH_APP = page(
  "No such app",
  "There is nothing here, yet",
  "No app on this Sluice has this host name. Check the address, or create the app: <code>sluice create</code>",
);
export const MAINTENANCE = page(
  "Offline for Maintenance",
  "Offline for maintenance",
  "This application is undergoing maintenance right now. Please check back later.",
);

const ESCAPES: Record<string, string> = { "&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;" };
const escaped = (text: string): string => text.replace(/[&"<>]/g, (char) => ESCAPES[char]!);

/** Heroku's shell: the app's own page in a frame that fills the window. Only http and https are shown. */
export function framed(url: string, title: string): string | null {
  if (!/^https?:\/\//i.test(url)) return null;
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>html,body,iframe{margin:0;padding:0;border:0;height:100%;width:100%}iframe{display:block;position:fixed;inset:0}</style></head>
<body><iframe src="${escaped(url)}" title="${title}"></iframe></body>
</html>
`;
}

/** A page for a request that was refused before any app was found. */
export const refused = (status: number, reason: string, message: string): string =>
  page(`${status} ${reason}`, reason, escaped(message));
