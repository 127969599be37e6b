using System.Net.Http.Headers;
using System.Text;

namespace Cowork.Web.Tests;

/// <summary>Forms with files, as clients send them.</summary>
static class UploadedForm
{
    public const string Boundary = "----cowork-boundary";
    public const string ContentType = $"multipart/form-data; boundary={Boundary}";

    /// <summary>Uploads a file as HttpClient does.</summary>
    /// <param name="fields">Beside the file, in this order; those that begin with <c>&lt;</c> stand before it, without that.</param>
    public static async Task<Got> Upload(
        this HttpClient http, byte[] content, string name = "notes.txt", (string Name, string Value)[]? fields = null, string? key = null, string mediaType = "text/plain")
    {
        using var form = new MultipartFormDataContent();
        foreach (var (field, value) in (fields ?? []).Where(f => f.Name.StartsWith('<')))
        {
            form.Add(new StringContent(value), field[1..]);
        }
        var file = new ByteArrayContent(content);
        file.Headers.ContentType = new MediaTypeHeaderValue(mediaType);
        form.Add(file, "file", name);
        foreach (var (field, value) in (fields ?? []).Where(f => !f.Name.StartsWith('<')))
        {
            form.Add(new StringContent(value), field);
        }
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/v1/files") { Content = form };
        if (key is not null)
        {
            request.Headers.Add("Idempotency-Key", key);
        }
        using var response = await http.SendAsync(request);
        return new(response.StatusCode, await response.Content.ReadAsStringAsync(), response.Headers, response.Content.Headers.ContentType?.MediaType);
    }

    public static Task<Got> Upload(this HttpClient http, string content, string name = "notes.txt", params (string Name, string Value)[] fields) =>
        http.Upload(Encoding.UTF8.GetBytes(content), name, fields);

    /// <summary>Sends a form byte by byte as it is.</summary>
    public static Task<Got> UploadRaw(this HttpClient http, string form, string contentType = ContentType) =>
        http.Send(HttpMethod.Post, "/api/v1/files", Encoding.UTF8.GetBytes(form), contentType);

    /// <summary>A part of a form.</summary>
    /// <param name="disposition">What stands behind <c>form-data; </c>.</param>
    public static string Part(string disposition, string content) => $"--{Boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n";

    public const string End = $"--{Boundary}--\r\n";
}
