using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Cowork.Testing;

/// <summary>A certificate with its private key, in PEM.</summary>
public sealed record TestCertificate(string Certificate, string Key)
{
    public byte[] Pfx(string password)
    {
        using var certificate = X509Certificate2.CreateFromPem(Certificate, Key);
        return certificate.Export(X509ContentType.Pfx, password);
    }

    public string Thumbprint
    {
        get
        {
            using var certificate = X509Certificate2.CreateFromPem(Certificate);
            return certificate.Thumbprint;
        }
    }
}

/// <summary>A certificate authority of one spec.</summary>
public sealed class TestAuthority : IDisposable
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    readonly X509Certificate2 root;

    public TestAuthority(string name = "Cowork test authority")
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        var now = TimeProvider.System.GetUtcNow();
        root = request.CreateSelfSigned(now.AddDays(-400), now.AddDays(400));
    }

    /// <summary>The root's certificate.</summary>
    public string Pem => root.ExportCertificatePem();

    /// <summary>Issues a certificate for a server.</summary>
    /// <param name="name">A host name, or an address.</param>
    /// <param name="until">When it ends; default: in 90 days.</param>
    /// <param name="isForServers">False: it is for clients.</param>
    public TestCertificate Issue(string name, DateTimeOffset? until = null, DateTimeOffset? from = null, bool isForServers = true)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        if (IPAddress.TryParse(name, out var address))
        {
            names.AddIpAddress(address);
        }
        else
        {
            names.AddDnsName(name);
        }
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new(isForServers ? "1.3.6.1.5.5.7.3.1" : "1.3.6.1.5.5.7.3.2")], critical: false));
        var now = TimeProvider.System.GetUtcNow();
        var serial = RandomNumberGenerator.GetBytes(8);
        serial[0] &= 0x7f;
        using var issued = request.Create(root, from ?? now - (until < now ? 48 * Hour : Hour), until ?? now.AddDays(90), serial);
        return new(issued.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem());
    }

    public void Dispose() => root.Dispose();
}
