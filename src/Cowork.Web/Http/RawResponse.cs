using System.Text;

using Microsoft.AspNetCore.WebUtilities;

namespace Cowork.Web.Http;

/// <summary>An HTTP/1.1 response in bytes, for connections that no server serves yet or any more. Such a connection closes behind it.</summary>
static class RawResponse
{
    /// <param name="headers">Further header lines, each with its CRLF.</param>
    /// <param name="isHead">The request was HEAD: the body is announced and left out (RFC 9110, section 9.3.2).</param>
    public static byte[] Of(int status, string contentType, string headers, ReadOnlySpan<byte> body, bool isHead = false)
    {
        var line = $"HTTP/1.1 {status} {ReasonPhrases.GetReasonPhrase(status)}";
        var head = $"{line}\r\nContent-Type: {contentType}\r\nContent-Length: {body.Length}\r\n{headers}Connection: close\r\n\r\n";
        return [.. Encoding.ASCII.GetBytes(head), .. isHead ? default : body];
    }
}
