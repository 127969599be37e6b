using System.Globalization;
using System.Text;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Hosts are killed while files are uploaded, extracted and deleted.</summary>
public sealed class FileKillSpecs : DirectorySpecs
{
    const string Files = "/api/v1/files";

    /// <summary>Uploads a file under a key of its own until a host takes it. Answers its id.</summary>
    static async Task<string> Upload(Func<HostProcess> host, string project, int number)
    {
        var word = new string((char)('a' + number), 6);
        var content = string.Concat(Enumerable.Range(0, 20_000).Select(line => string.Create(CultureInfo.InvariantCulture, $"kraken {word} of line {line}\n")));
        while (true)
        {
            try
            {
                using var form = new MultipartFormDataContent
                {
                    { new ByteArrayContent(Encoding.UTF8.GetBytes(content)), "file", $"{number}.txt" }, { new StringContent(project), "project_id" },
                };
                using var request = new HttpRequestMessage(HttpMethod.Post, Files) { Content = form };
                request.Headers.Add("Idempotency-Key", $"file-{number}");
                using var response = await host().Http.SendAsync(request);
                if (response.IsSuccessStatusCode)
                {
                    return System.Text.Json.JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("id").GetString()!;
                }
                Assert.True((int)response.StatusCode is 409 or 503, $"{(int)response.StatusCode}");
            }
            catch (Exception e) when (e is HttpRequestException or IOException or TaskCanceledException)
            {
                // The host was killed; the next one answers.
            }
            await Task.Delay(20);
        }
    }

    [Fact]
    public async Task Uploads_extractions_and_deletions_go_on_where_a_killed_host_left_them()
    {
        var database = await TestPostgres.NewDatabase();
        var host = await HostProcess.Start(Data, database);
        var project = (await host.Http.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];
        var uploads = Enumerable.Range(0, 24).Select(number => Task.Run(() => Upload(() => host, project, number))).ToList();
        await Task.WhenAny(uploads);
        await host.Kill();
        await using var first = host;
        await using var second = host = await HostProcess.Start(Data, database);
        var ids = await Task.WhenAll(uploads);
        await second.Kill();

        await using var third = host = await HostProcess.Start(Data, database);
        Assert.Equal("24", (await third.Http.Get($"{Files}?project_id={project}")).Is(200)["total"]);
        Assert.Equal(24, ids.Distinct().Count());
        foreach (var id in ids)
        {
            var file = await third.Http.Until($"{Files}/{id}", got => got["status"] != "processing");
            Assert.Equal("ready", file["status"]);
        }
        var hits = (await third.Http.Get($"{Files}/search?q=hhhhhh&limit=1&project_id={project}")).Is(200).Json.GetProperty("data");
        Assert.Equal("7.txt", hits[0].GetProperty("name").GetString());
        // Nobody waits for the answer.
        var deleting = third.Http.Delete($"/api/v1/projects/{project}");
        await third.Http.Until($"/api/v1/projects/{project}", got => (int)got.Status == 404);
        await third.Kill();
        await deleting.ContinueWith(_ => { }, TaskScheduler.Default);

        await using var last = host = await HostProcess.Start(Data, database);
        foreach (var id in ids)
        {
            await last.Http.Until($"{Files}/{id}", got => (int)got.Status == 404);
        }
        await last.Http.Until($"{Files}/search?q=kraken", got => got.Is(200).Json.GetProperty("data").GetArrayLength() == 0);
        Assert.Equal(0, await last.Stop());
        await Ledger.Check(database, []);
    }
}
