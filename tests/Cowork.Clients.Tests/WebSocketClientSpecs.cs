using System.Diagnostics;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Clients.Tests;

/// <summary>The <c>ws</c> package for Node.js, as npm has it, on a group's WebSocket.</summary>
public sealed class WebSocketClientSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    [Fact]
    public async Task The_ws_package_talks_to_a_group_and_goes_on_where_it_stopped()
    {
        var group = (await tenant.Http.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        var start = new ProcessStartInfo("node", ["-e", $"(async () => {{ {Program} }})().catch(error => {{ console.error(error); process.exit(1); }});"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["NODE_PATH"] = await Generators.Modules();
        start.Environment["COWORK"] = tenant.Host.Url;
        start.Environment["GROUP"] = group;
        start.Environment["TOKEN"] = (await tenant.Http.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];
        using var node = Process.Start(start)!;
        var (output, error) = (node.StandardOutput.ReadToEndAsync(), node.StandardError.ReadToEndAsync());
        using var deadline = new CancellationTokenSource(Patience.Limit);
        await node.WaitForExitAsync(deadline.Token);
        Assert.True(node.ExitCode == 0, await error);
        var told = JsonElement.Parse(await output);
        // The agent's answers have numbers between those of the messages.
        int[] Seqs(string name) => [.. told.GetProperty(name).EnumerateArray().Select(seq => seq.GetInt32())];
        var first = Seqs("first");
        Assert.True(first is [1, var second, var third] && second > 1 && third > second, string.Join(", ", first));
        Assert.Equal(first[1..], Seqs("again"));
        Assert.Equal("pong", told.GetProperty("pong").GetString());
        Assert.Equal("malformed_json", told.GetProperty("code").GetString());
        Assert.Equal((1000, 401, ""), (told.GetProperty("closed").GetInt32(), told.GetProperty("refused").GetInt32(), told.GetProperty("extensions").GetString()));
    }

    const string Program = """
        const WebSocket = require("ws");
        const address = (query) => process.env.COWORK.replace("http", "ws") + "/groups/" + process.env.GROUP + "/ws?" + query;
        const token = "token=" + process.env.TOKEN;
        const seqs = (socket, count) => new Promise((resolve, reject) => {
            const seen = [];
            socket.on("message", data => {
                const message = JSON.parse(data);
                if (message.type === "user_message_stored") seen.push(message.seq);
                if (seen.length === count) resolve(seen);
            });
            socket.on("error", reject);
        });
        const socket = new WebSocket(address(token));
        const stored = seqs(socket, 3);
        const failed = new Promise(resolve => socket.on("message", data => { const message = JSON.parse(data); if (message.type === "error") resolve(message.code); }));
        await new Promise((resolve, reject) => { socket.on("open", resolve); socket.on("error", reject); });
        for (let i = 0; i < 3; i++) socket.send(JSON.stringify({ type: "message", text: "hello " + i, message_id: "m" + i }), { fin: false }), socket.send("", { fin: true });
        socket.send("hello");
        const pong = new Promise(resolve => socket.on("pong", data => resolve(data.toString())));
        socket.ping("pong");
        const first = await stored;
        const again = await seqs(new WebSocket(address(token + "&since=" + first[0])), 2);
        const refused = await new Promise(resolve => new WebSocket(address("token=x")).on("unexpected-response", (request, response) => resolve(response.statusCode)).on("error", () => {}));
        const closed = new Promise(resolve => socket.on("close", resolve));
        socket.close(1000, "done");
        console.log(JSON.stringify({ first, again: again.slice(0, 2), pong: await pong, code: await failed, closed: await closed, refused, extensions: socket.extensions }));
        process.exit(0);
        """;
}
