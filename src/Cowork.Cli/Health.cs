using System.Text.Json;

namespace Cowork.Cli;

/// <summary><c>cowork health</c> asks the host that works on a data directory whether it is ready, over HTTP or TLS, as the host speaks.</summary>
static class Health
{
    static readonly TimeSpan Deadline = TimeSpan.FromSeconds(3);

    /// <summary>Prints the answer's body. Answers 0 for ready, 1 for not ready or no host.</summary>
    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("health", "", options) is not { } given)
        {
            return Usage.Error;
        }
        string url;
        try
        {
            url = (await File.ReadAllTextAsync(Path.Combine(given.Data, "url"))).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"cowork: no host works on {given.Data}. Start it: ./cowork up --data {given.Data}");
            return 1;
        }
        using var http = Client();
        try
        {
            using var answer = await http.GetAsync($"{url}/health/ready");
            Console.WriteLine(await answer.Content.ReadAsStringAsync());
            return answer.IsSuccessStatusCode ? 0 : 1;
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException)
        {
            Console.Error.WriteLine($"cowork: the host at {url} does not answer: {e.Message}");
            return 1;
        }
    }

    /// <summary>The reason of a host that runs and is not ready, when it is of this code; null: none runs, it is ready, or it is not for this reason.</summary>
    public static async Task<string?> WhyNotReady(string data, string code)
    {
        try
        {
            using var http = Client();
            using var answer = await http.GetAsync($"{(await File.ReadAllTextAsync(Path.Combine(data, "url"))).Trim()}/health/ready");
            if (answer.IsSuccessStatusCode)
            {
                return null;
            }
            var problem = JsonElement.Parse(await answer.Content.ReadAsStringAsync());
            return problem.GetProperty("code").GetString() == code ? problem.GetProperty("detail").GetString() : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or HttpRequestException or OperationCanceledException or JsonException
            or KeyNotFoundException or InvalidOperationException or UriFormatException)
        {
            return null;
        }
    }

    /// <summary>The address is this machine's, and the certificate is for another name. Nothing secret is sent, and the answer is a word.</summary>
    static HttpClient Client()
    {
        var handler = new SocketsHttpHandler { UseProxy = false, SslOptions = new() { RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null } };
        return new(handler) { Timeout = Deadline };
    }
}
