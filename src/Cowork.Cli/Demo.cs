using System.Diagnostics;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary>
/// <c>cowork demo</c> gives a tour on a real file. It starts a host on a fresh data directory, calls it over HTTP as any client does, and leaves nothing
/// behind except the trace bundle that it fetched.
/// </summary>
static class Demo
{
    static readonly TimeSpan Deadline = TimeSpan.FromMinutes(1);

    public static async Task<int> Run(string[] options)
    {
        if (options.Length > 0)
        {
            return Usage.Wrong("demo takes no options");
        }
        var host = HostProgram.Dll;
        var file = Path.Combine(HostProgram.Repository, "demo/airports.csv");
        if (new[] { host, file }.FirstOrDefault(path => !File.Exists(path)) is { } missing)
        {
            Console.Error.WriteLine($"cowork: {missing} is missing. Run ./cowork demo in a checkout.");
            return 2;
        }
        var data = Directory.CreateTempSubdirectory("cowork-demo-").FullName;
        try
        {
            Title("The demo starts a host with a private PostgreSQL");
            await using var running = await Host.Start(host, data);
            Say($"{running.Http.BaseAddress}, data in {data}");
            await Tour(running.Http, data, file);
            return 0;
        }
        finally
        {
            Directory.Delete(data, recursive: true);
        }
    }

    static async Task Tour(HttpClient http, string data, string file)
    {
        Title("A session on a folder with a real file");
        var workspace = Path.Combine(data, "workspaces", "demo");
        Directory.CreateDirectory(workspace);
        File.Copy(file, Path.Combine(workspace, "airports.csv"));
        await Send(http, HttpMethod.Post, "/sessions", new { session_id = "demo", workspace_path = workspace, metadata = new { team = "tour" } });

        Title("The session's live feed while the agent works");
        using var feedEnd = new CancellationTokenSource();
        var feed = Follow(http, "/sessions/demo/events/stream", feedEnd.Token);

        const string question = "Which airport is in Barrow, Alaska?";
        var turn = await Send(http, HttpMethod.Post, "/sessions/demo/turn", new { message = question, idempotency_key = "barrow" });
        var tools = "/tool search_files {\"query\": \"Barrow\", \"limit\": 3}\n/say That is what the file says about Barrow.";
        await Send(http, HttpMethod.Post, "/sessions/demo/turn", new { message = tools });

        Title("The agent wants to write a report into the workspace and waits for an approval");
        var report = "/tool write_file {\"path\":\"report.md\",\"content\":\"# Barrow\\n\\nBRW, the northernmost airport of the file.\\n\"}\n"
            + "/tool write_file {\"path\":\".anton/output/barrow.csv\",\"content\":\"iata,latitude\\nBRW,71.2854475\\n\"}\n/say The report is written.";
        var suspended = await Send(http, HttpMethod.Post, "/sessions/demo/turn", new { message = report });
        var reportRun = suspended.GetProperty("run_id").GetString();
        Say($"report.md is {(File.Exists(Path.Combine(workspace, "report.md")) ? "there" : "not there yet")}");
        var pending = (await Get(http, "/approvals?session_id=demo")).GetProperty("approvals")[0].GetProperty("approval_id").GetString();
        await Send(http, HttpMethod.Post, $"/approvals/{pending}/decision", new { approved = true, note = "go ahead" });
        await WaitForEnd(http, $"/runs/{reportRun}");
        Say($"report.md: {(await File.ReadAllTextAsync(Path.Combine(workspace, "report.md"))).ReplaceLineEndings(" ")}");
        await Get(http, $"/runs/{reportRun}/artifacts");

        await Compute(http, data);

        Title("The same request again returns the same run and does nothing twice");
        await Send(http, HttpMethod.Post, "/sessions/demo/turn", new { message = question, idempotency_key = "barrow" });
        await feedEnd.CancelAsync();
        await feed;

        Title("The run's trace bundle proves what happened, checked without the server");
        var run = turn.GetProperty("run_id").GetString()!;
        var bundle = await http.GetByteArrayAsync($"/runs/{run}/trace");
        var path = Path.Combine(Path.GetTempPath(), $"{run}.json");
        await File.WriteAllBytesAsync(path, bundle);
        Say($"GET /runs/{run}/trace → {bundle.Length} bytes, saved as {path}");
        Check(bundle, expectSound: true);

        Title("The verifier finds and names one changed byte");
        var at = bundle.AsSpan().IndexOf("Barrow"u8);
        bundle[at] = (byte)'C';
        Say($"byte {at}: B → C");
        Check(bundle, expectSound: false);
        Say($"\nTry it: ./cowork verify {path}");
    }

    /// <summary>The agent computes what no text says, in a cell of a notebook.</summary>
    static async Task Compute(HttpClient http, string data)
    {
        Title("The agent computes an answer in a cell of a notebook, in a sandbox, and draws a chart");
        var message = $"How far is it from Barrow to Key West, and which states have most airports?\n```python\n{Cell}\n```\n/say The cell has computed it.";
        var turn = await Send(http, HttpMethod.Post, "/sessions/demo/turn", new { message });
        var pads = (await Get(http, "/api/v1/scratchpads?conversation_id=demo")).GetProperty("data");
        if (pads.GetArrayLength() == 0)
        {
            Say("No cell ran: ./cowork doctor says what is missing for kernels.");
            return;
        }
        await Get(http, $"/runs/{turn.GetProperty("run_id").GetString()}/artifacts");
        var copy = Path.Combine(Path.GetTempPath(), "cowork-demo-airports.svg");
        File.Copy(Path.Combine(data, "workspaces", "demo", ".anton/output/airports.svg"), copy, overwrite: true);
        Say($"The chart: {copy}");

        Title("The notebook is run again from the top in a clean kernel, and the outputs are compared");
        await Send(http, HttpMethod.Post, $"/api/v1/scratchpads/{pads[0].GetProperty("id").GetString()}/replay", new { wait_for_completion = true });
    }

    /// <summary>Needs the standard library alone.</summary>
    const string Cell = """"
        import collections, csv, math
        from IPython.display import SVG, display
        airports = {a["iata"]: a for a in csv.DictReader(open("airports.csv"))}
        def place(code): return [math.radians(float(airports[code][at])) for at in ("latitude", "longitude")]
        (a, b), (c, d) = place("BRW"), place("EYW")
        h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
        print(f"Barrow to Key West: {2 * 6371.0088 * math.asin(math.sqrt(h)):.0f} km")
        most = collections.Counter(a["state"] for a in airports.values()).most_common(8)
        bars = "".join(f'<rect x="40" y="{24 * i}" width="{n}" height="20" fill="#36c"/><text x="4" y="{24 * i + 15}">{s}</text>'
                       f'<text x="{n + 46}" y="{24 * i + 15}">{n}</text>' for i, (s, n) in enumerate(most))
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="360" height="192" font-family="sans-serif" font-size="13">{bars}</svg>'
        open(".anton/output/airports.svg", "w").write(svg)
        display(SVG(svg))
        """";

    static void Check(byte[] bundle, bool expectSound)
    {
        var (report, fault) = TraceVerifier.Verify(bundle);
        Say(report is not null ? $"sound: {report.Status}, {report.Events} events, head {report.Head}" : $"NOT sound: {VisibleText.Of($"{fault!.Location}: {fault.Message}")}");
        if (report is not null != expectSound)
        {
            throw new InvalidOperationException("The verifier gave the wrong verdict on the bundle.");
        }
    }

    static async Task<JsonElement> Send(HttpClient http, HttpMethod method, string path, object body)
    {
        var json = JsonSerializer.Serialize(body, RelaxedJson);
        Say($"{method} {path} {json}");
        using var request = new HttpRequestMessage(method, path) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        using var response = await http.SendAsync(request);
        var answer = await response.Content.ReadFromJsonAsync<JsonElement>();
        Say($"  {(int)response.StatusCode} {answer.GetRawText()}");
        response.EnsureSuccessStatusCode();
        return answer;
    }

    static async Task<JsonElement> Get(HttpClient http, string path)
    {
        var answer = await http.GetFromJsonAsync<JsonElement>(path);
        Say($"GET {path}\n  200 {answer.GetRawText()}");
        return answer;
    }

    static async Task WaitForEnd(HttpClient http, string run)
    {
        var clock = Stopwatch.StartNew();
        while ((await http.GetFromJsonAsync<JsonElement>(run)).GetProperty("status").GetString() is not ("completed" or "failed" or "cancelled"))
        {
            if (clock.Elapsed > Deadline)
            {
                throw new InvalidOperationException($"The run {run} did not end within {Deadline}.");
            }
            await Task.Delay(20);
        }
    }

    static readonly JsonSerializerOptions RelaxedJson = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    static async Task Follow(HttpClient http, string path, CancellationToken ct)
    {
        try
        {
            using var response = await http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead, ct);
            using var lines = new StreamReader(await response.EnsureSuccessStatusCode().Content.ReadAsStreamAsync(ct));
            while (await lines.ReadLineAsync(ct) is { } line)
            {
                if (line.StartsWith("data:", StringComparison.Ordinal))
                {
                    var e = JsonDocument.Parse(line[5..]).RootElement;
                    var payload = e.GetProperty("payload").GetRawText();
                    Say($"    ~ {e.GetProperty("id"),3} {e.GetProperty("type").GetString(),-18} {(payload.Length > 110 ? payload[..110] + "…" : payload)}");
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The tour ends the feed.
        }
    }

    static void Title(string text) => Console.WriteLine($"\n— {text}");

    static void Say(string text) => Console.WriteLine(text);

    /// <summary>A host in a child process.</summary>
    sealed class Host(Process process, HttpClient http) : IAsyncDisposable
    {
        public HttpClient Http => http;

        public static async Task<Host> Start(string dll, string data)
        {
            var port = FreePort();
            var start = new ProcessStartInfo("dotnet", [dll, "--port", port.ToString(), "--data", data]) { RedirectStandardOutput = true, RedirectStandardError = true };
            // The demo uses a private database, loopback and plain HTTP also where the environment says otherwise.
            var others = start.Environment.Keys.Where(name => name.StartsWith("Cowork__Tls__", StringComparison.OrdinalIgnoreCase)
                || name.StartsWith("Cowork__TrustedProxies__", StringComparison.OrdinalIgnoreCase) || name.StartsWith("Cowork__Auth__", StringComparison.OrdinalIgnoreCase));
            foreach (var name in (string[])["ConnectionStrings__Cowork", "DATABASE_URL", "PGHOST", "PGHOSTADDR", "Cowork__Bind", .. others])
            {
                start.Environment.Remove(name);
            }
            var log = new StringBuilder();
            var process = Process.Start(start)!;
            process.OutputDataReceived += (_, line) => AddToLog(line.Data);
            process.ErrorDataReceived += (_, line) => AddToLog(line.Data);
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            var host = new Host(process, new HttpClient(new SocketsHttpHandler { UseProxy = false }) { BaseAddress = new($"http://127.0.0.1:{port}") });
            var clock = Stopwatch.StartNew();
            while (!await host.IsReady())
            {
                if (process.HasExited || clock.Elapsed > Deadline)
                {
                    await host.DisposeAsync();
                    throw new InvalidOperationException($"The host did not start:\n{log}");
                }
                await Task.Delay(50);
            }
            return host;

            void AddToLog(string? line)
            {
                lock (log)
                {
                    log.AppendLine(line);
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            http.Dispose();
            if (!process.HasExited)
            {
                using var kill = Process.Start("/bin/sh", ["-c", $"kill -TERM {process.Id}"]);
                await process.WaitForExitAsync();
            }
            process.Dispose();
        }

        async Task<bool> IsReady()
        {
            try
            {
                using var answer = await http.GetAsync("/health/ready");
                return answer.IsSuccessStatusCode;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        }

        static int FreePort()
        {
            using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
            listener.Start();
            return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
        }
    }
}
